"""What `[[models]]` may change in requests, and what not. Pure."""

from collections.abc import Iterator
from math import isfinite

from appliance.config.locate import ConfigPath
from appliance.config.schema import Model
from appliance.domain.calls import DECIDING


def mistakes_in_changes(model: Model, here: str) -> Iterator[tuple[ConfigPath, str, str]]:
    """The place inside the model's table, what is wrong, and the fix.

    Args:
        model: from the config.
        here: its table, as it is written in messages.
    """
    settings = {"defaults": model.defaults, "forced": model.forced, "stripped": dict.fromkeys(model.stripped)}
    for setting, fields in settings.items():
        for index, (name, value) in enumerate(fields.items()):
            spot: ConfigPath = (setting, index if setting == "stripped" else name)
            what = f'`{here}.{setting}`: "{name}"'
            if name in DECIDING:
                yield spot, f"{what} decides which answer is given and cannot be changed", "remove it"
            elif setting != "forced" and name in model.forced:
                yield spot, f"{what} is replaced by `forced` anyway", "keep one of them"
            elif not _is_json(value):
                yield spot, f"{what} has a value that JSON does not know", "use text, numbers, lists or tables"


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value))
