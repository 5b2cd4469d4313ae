"""Rules about fields of requests and about the share of a key. Pure."""

from collections.abc import Iterator

from appliance.config.check import Finding
from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Config, Key, KeyParameters, Parameters, Section
from appliance.domain.parameters import RULES

_AT_LEAST_ONE = ("most_choices", "most_tools", "schema_size", "schema_depth")


def check_parameters(config: Config) -> Iterator[Finding]:
    """Everything that is wrong with what `[parameters]` and the keys say, where the types are right."""
    yield from _parameters(config.parameters, ("parameters",))
    for index, key in enumerate(config.keys):
        yield from _key(key, ("keys", index))


def _key(key: Key, path: ConfigPath) -> Iterator[Finding]:
    yield from _more_than_0(key, path, ("weight",))
    if key.parameters is not None:
        yield from _parameters(key.parameters, (*path, "parameters"))


def _parameters(section: Parameters | KeyParameters, path: ConfigPath) -> Iterator[Finding]:
    yield from _more_than_0(section, path, _AT_LEAST_ONE)
    for index, name in enumerate(section.allow):
        if name.partition(".")[0] not in RULES:
            spot = (*path, "allow", index)
            what = f'`{dotted(spot)}`: "{name}" is no field that is refused to anybody'
            yield Finding(spot, what, "remove it; docs/parameters.md lists the fields that are judged")


def _more_than_0(section: Section, path: ConfigPath, names: tuple[str, ...]) -> Iterator[Finding]:
    for name in names:
        value = getattr(section, name)
        if value is not None and value <= 0:
            spot = (*path, name)
            fix = "raise it, or remove the line for the default"
            yield Finding(spot, f"`{dotted(spot)}` must be more than 0", fix)
