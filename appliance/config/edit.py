"""Changes of `[[models]]` in the text of a configuration file, as its owner would make them in an editor. Pure.

Only the lines of the one entry change; every other byte of the file stays, comments and order with it. What comes out
is read again and compared with what was asked: a file that is written in a way that this room does not understand is
refused, never guessed at.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Item, Table

from appliance.config.locate import locate
from appliance.errors import OperatorError

Settings = Mapping[str, Any]  # of a model, as TOML values; None takes a setting out
Edit = Callable[..., str]
_HEADER = re.compile(r"[ \t]*\[\[[ \t]*(?:models|\"models\"|'models')[ \t]*\]\]")
_BY_HAND = "edit it by hand"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One `[[models]]` entry: its lines (from its header to its last value, as `start:end`) and what they say."""

    start: int
    end: int
    table: dict[str, Any]


def models_of(text: str) -> list[dict[str, Any]]:
    """The `[[models]]` entries as they are written.

    Raises:
        OperatorError: the text is not TOML, or `models` is no list of tables.
    """
    try:
        models = tomllib.loads(text).get("models", [])
    except (ValueError, RecursionError):
        raise OperatorError(
            f"the configuration file is not valid TOML: {_BY_HAND}; `appliance check` says where"
        ) from None
    if not isinstance(models, list) or not all(isinstance(row, dict) for row in models):
        raise OperatorError(f"`models` of the configuration file is no list of tables: {_BY_HAND}")
    return models


def _with_its_line_ends(edit: Edit) -> Edit:
    """Edits work on lines that end in a line feed; a file of Windows gets its own ends back."""

    @wraps(edit)
    def edited(text: str, *words: Any) -> str:
        if "\r\n" not in text or text.count("\r\n") != text.count("\n"):
            return edit(text, *words)
        return edit(text.replace("\r\n", "\n"), *words).replace("\n", "\r\n")

    return edited


@_with_its_line_ends
def add_model(text: str, name: str, settings: Settings) -> str:
    """The text with another `[[models]]` entry, after the last one or at the end of the file.

    Raises:
        OperatorError: there is one of that name, or the text cannot be changed.
    """
    models = models_of(text)
    if any(row.get("name") == name for row in models):
        raise OperatorError(f'the configuration file has a model "{name}" already: change that one')
    table = {"name": name, **{key: value for key, value in settings.items() if value is not None}}
    lines = text.split("\n")
    at = _place(lines, _entries(text, lines, models)[-1].end) if models else len(lines)
    before, after = lines[:at], lines[at:]
    if before and not before[-1].strip():
        before.pop()  # the end of the last line of a text is an empty one here
    new = ["", "[[models]]", *(f"{_key(key)} = {_literal(value)}" for key, value in table.items())]
    if not any(line.strip() for line in before):
        before, new = [], new[1:]
    if not after or after[0].strip():
        after = ["", *after]
    return _checked(text, "\n".join([*before, *new, *after]), [*models, table])


@_with_its_line_ends
def change_model(text: str, name: str, settings: Settings) -> str:
    """The text with other settings of one entry; what `settings` does not name stays as it is written.

    Raises:
        OperatorError: there is no such entry, or the text cannot be changed.
    """
    models, lines = models_of(text), text.split("\n")
    index = _index(models, name)
    entry = _entries(text, lines, models)[index]
    own = lines[entry.start : entry.end]
    try:
        document = tomlkit.parse("\n".join([*own, ""]))
        table: Any = document["models"][0]  # an array of tables: `_entries` saw its header
        wanted = deepcopy(entry.table)
        for key, value in settings.items():
            _put(table, key, value)
            if value is None:
                wanted.pop(key, None)
            else:
                wanted[key] = value
        new = tomlkit.dumps(document).removesuffix("\n").split("\n")
    except (TOMLKitError, TypeError, ValueError) as error:
        raise OperatorError(f'the model "{name}" cannot be changed so ({error}): {_BY_HAND}') from error
    if wanted == entry.table:
        return text
    changed = [*models[:index], wanted, *models[index + 1 :]]
    return _checked(text, "\n".join([*lines[: entry.start], *new, *lines[entry.end :]]), changed)


@_with_its_line_ends
def remove_model(text: str, name: str) -> str:
    """The text without one entry; comments stay.

    Raises:
        OperatorError: there is no such entry, or the text cannot be changed.
    """
    models, lines = models_of(text), text.split("\n")
    index = _index(models, name)
    entry = _entries(text, lines, models)[index]
    before, after = lines[: entry.start], lines[entry.end :]
    if before and not before[-1].strip() and not (after and after[0].strip()):
        before.pop()  # one empty line between two entries is enough
    return _checked(text, "\n".join([*before, *after]), models[:index] + models[index + 1 :])


def _index(models: list[dict[str, Any]], name: str) -> int:
    for index, row in enumerate(models):
        if row.get("name") == name:
            return index
    known = ", ".join(str(row.get("name")) for row in models) or "there are none"
    raise OperatorError(f'the configuration file has no [[models]] entry "{name}" (entries: {known})')


def _entries(text: str, lines: list[str], models: list[dict[str, Any]]) -> list[_Entry]:
    places = locate(text).found
    found = []
    for index, table in enumerate(models):
        path = ("models", index)
        start = places.get(path, (1, 1))[0] - 1
        later = (place[0] - 1 for key, place in places.items() if key[:2] != path)
        end = min((line for line in later if line > start), default=len(lines))
        while end > start + 1 and _is_trivia(lines[end - 1]):
            end -= 1
        if not _HEADER.match(lines[start]):
            raise OperatorError(f"the models of the configuration file have no [[models]] headers: {_BY_HAND}")
        if tomllib.loads("\n".join([*lines[start:end], ""])) != {"models": [table]}:
            name = table.get("name")
            raise OperatorError(f'the lines of the model "{name}" do not stand together: {_BY_HAND}')
        found.append(_Entry(start, end, table))
    return found


def _is_trivia(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _place(lines: list[str], end: int) -> int:
    """Where to go on after an entry: behind the comments that follow it, unless they belong to what comes next."""
    at = end
    while at < len(lines) and lines[at].lstrip().startswith("#"):
        at += 1
    return at if at >= len(lines) or not lines[at].strip() else end


def _put(table: Any, key: str, value: Any) -> None:
    old = table.get(key)
    if value is None:
        table.pop(key, None)
    elif isinstance(old, Table) and isinstance(value, Mapping):
        for name in [name for name in old if name not in value]:
            del old[name]
        for name, inner in value.items():
            _put(old, name, inner)
    elif not _is(old, value) and not (isinstance(old, Array) and isinstance(value, list) and _became(old, value)):
        table[key] = tomlkit.value(_literal(value))


def _is(old: Any, wanted: Any) -> bool:
    plain = old.unwrap() if isinstance(old, Item) else old
    return type(plain) is type(wanted) and plain == wanted


def _became(old: Array, wanted: list[Any]) -> bool:
    """Whether leaving out and appending made a list what is wanted: its comments are kept then."""
    for index in reversed(range(len(old))):
        if old[index] not in wanted:
            del old[index]
    for item in wanted:
        if item not in old:
            old.append(tomlkit.value(_literal(item)))
    return bool(old.unwrap() == wanted)


def _literal(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(name)} = {_literal(inner)}" for name, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    try:
        return str(tomlkit.item(value).as_string())
    except (TOMLKitError, TypeError, ValueError):
        raise OperatorError(
            "the configuration file cannot hold such a value: use text, numbers, lists or tables"
        ) from None


def _key(name: str) -> str:
    return tomlkit.key(name).as_string()


def _checked(before: str, after: str, models: list[dict[str, Any]]) -> str:
    wanted = tomllib.loads(before)
    wanted.pop("models", None)
    if models:
        wanted["models"] = models
    try:
        found = tomllib.loads(after)
        after.encode()
    except ValueError:
        found = None
    if found != wanted:
        raise OperatorError(f"the configuration file cannot be changed so without touching other lines: {_BY_HAND}")
    return after
