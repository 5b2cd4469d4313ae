"""What `[parameters]` and a key's own may allow. Pure."""

from collections.abc import Iterator

from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Config, KeyParameters, Parameters
from appliance.domain.parameters import RULES

_AT_LEAST_ONE = ("most_choices", "most_tools", "schema_size", "schema_depth")


def mistakes_in_parameters(config: Config) -> Iterator[tuple[ConfigPath, str, str]]:
    """The place, what is wrong, and the fix."""
    yield from _mistakes(config.parameters, ("parameters",))
    for index, key in enumerate(config.keys):
        if key.parameters is not None:
            yield from _mistakes(key.parameters, ("keys", index, "parameters"))


def _mistakes(section: Parameters | KeyParameters, path: ConfigPath) -> Iterator[tuple[ConfigPath, str, str]]:
    for name in _AT_LEAST_ONE:
        value = getattr(section, name)
        if value is not None and value <= 0:
            spot = (*path, name)
            yield spot, f"`{dotted(spot)}` must be more than 0", "raise it, or remove the line for the default"
    for index, name in enumerate(section.allow):
        if name.partition(".")[0] not in RULES:
            spot = (*path, "allow", index)
            what = f'`{dotted(spot)}`: "{name}" is no field that is refused to anybody'
            yield spot, what, "remove it; docs/parameters.md lists the fields that are judged"
