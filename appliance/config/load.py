"""From text to a Config: every problem at once, each with its place and what to do about it."""

import datetime as dt
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec

from appliance.config.check import Finding, any_of, check, nearest, printable
from appliance.config.check_clouds import check_clouds
from appliance.config.check_parameters import check_parameters
from appliance.config.check_tls import check_tls
from appliance.config.locate import ConfigPath, Positions, dotted, locate
from appliance.config.pem import check_files
from appliance.config.schema import Config, Section
from appliance.config.secrets import has_stored_keys
from appliance.config.units import Moment, Seconds, Size
from appliance.errors import OperatorError

Check = Callable[[Config], list[Finding]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file, and where.

    Attributes:
        path: which setting; empty for the file as a whole.
        what: what is wrong.
        fix: what to do.
        line: from 1.
        column: from 1, in characters.
    """

    path: ConfigPath
    what: str
    fix: str
    line: int
    column: int

    def render(self, file: str) -> str:
        """`file:line:column  what  fix`, which editors and terminals turn into a link."""
        return f"{file}:{self.line}:{self.column}  {printable(self.what)}  {printable(self.fix)}"

    def facts(self) -> dict[str, Any]:
        """The same for a machine."""
        return {"path": list(self.path), "line": self.line, "column": self.column, "what": self.what, "fix": self.fix}


def load_config(path: Path, *, has_environment_keys: bool, also: Sequence[Check] = ()) -> Config:
    """Read, parse and check a file; `also` are checks of rooms that know what a setting is for.

    Raises:
        OperatorError: it cannot be read, or it has problems; the text counts them and has one a line.
    """
    return build_config(read_text(path), path, has_environment_keys=has_environment_keys, also=also)


def build_config(text: str, path: Path, *, has_environment_keys: bool, also: Sequence[Check] = ()) -> Config:
    """Parse and check the text of a file.

    Raises:
        OperatorError: as `load_config`.
    """
    config, problems = inspect(text, has_environment_keys=has_environment_keys, also=also)
    if config is None or problems:
        title = f"{count(problems)} in {path}"
        raise OperatorError("\n".join([title, *(problem.render(str(path)) for problem in problems)]))
    return config


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        OperatorError: there is no such file, it may not be read, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows editors put a mark in front
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise OperatorError(f"cannot read {path}: it is not UTF-8 (byte {error.start})") from None


def count(problems: Sized) -> str:
    """How many, in words: `1 problem`, `2 problems`."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"


def inspect(
    text: str, *, has_environment_keys: bool, also: Sequence[Check] = ()
) -> tuple[Config | None, list[Problem]]:
    """Parse and check, the files that it names too: a Config and no problems, or problems and perhaps a Config.

    Names and types that are wrong do not hide what else is: the rules are tried on what could be read, and what they
    say of a place that could not be read is left out.
    """
    read = _read(text)
    if isinstance(read, Problem):
        return None, [read]
    config, wrong, positions = read
    has_more_keys = has_environment_keys or has_stored_keys(config.server.state_dir)
    findings = [
        *check(config, has_environment_keys=has_more_keys),
        *check_clouds(config),
        *check_parameters(config),
        *check_tls(config.server),
        *check_files(config.server),
    ]
    findings += [finding for of_a_room in also for finding in of_a_room(config)]
    if not wrong:
        return config, place(findings, positions)
    return None, place([*wrong, *(found for found in findings if _stands(found.path, wrong))], positions)


def parse(text: str) -> tuple[Config | None, list[Problem]]:
    """Build a Config from text: either it and no problem, or None and every problem of names and types."""
    read = _read(text)
    if isinstance(read, Problem):
        return None, [read]
    config, wrong, positions = read
    return (None, place(wrong, positions)) if wrong else (config, [])


def _read(text: str) -> tuple[Config, list[Finding], Positions] | Problem:
    """What could be read, with defaults where it could not, every mistake of names and types, and the places."""
    try:
        raw = tomllib.loads(text)
        positions = locate(text)
    except RecursionError:
        return Problem((), "lists or tables are nested too deeply", "flatten them", 1, 1)
    except ValueError as error:
        return _syntax(str(error), text)
    reader = _Reader()
    return cast("Config", reader.read(Config, raw, ())), reader.findings, positions


# What the rules of one section take from others: where a name or a whole table of those is unreadable, they are not
# asked.
_RESTS_ON = {
    "server": ("keys",),
    "keys": ("providers",),
    "models": ("runtimes", "backends", "providers", "guardrails"),
    "guardrails": ("runtimes", "backends", "providers", "models"),
}
_NAMING = ("name", "engine", "kinds")
_DECIDING = ("engine", "kind")
_SECTIONS = Config.__struct_fields__


def _stands(path: ConfigPath, wrong: Sequence[Finding]) -> bool:
    """Whether what a rule says of a place is worth telling, given what could not be read."""
    others = _RESTS_ON.get(str(path[0]), ())
    for found in wrong:
        other = found.path[:-1] if isinstance(found.path[-1], int) else found.path
        shorter = min(len(path), len(other))
        if path[:shorter] == other[:shorter]:
            return False
        if other[-1] in _DECIDING and path[: len(other) - 1] == other[:-1]:
            return False  # what else the table needs hangs on it
        section, whole = other[0], len(other) == 1
        if (section in others and (whole or other[-1] in _NAMING)) or (others and whole and section not in _SECTIONS):
            return False
    return True


def place(findings: Iterable[Finding], positions: Positions) -> list[Problem]:
    """Give findings their places; in the order of the file."""
    problems = [Problem(found.path, found.what, found.fix, *positions.at(found.path)) for found in findings]
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def _syntax(words: str, text: str) -> Problem:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", words, re.DOTALL)
    what = match[1] if match else words
    if match and match[2]:
        line, column = int(match[2]), int(match[3])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return Problem(
        (), f"not valid TOML: {what}", "text needs quotes, a list needs [ ], a comment starts with #", line, column
    )


class _Reader:
    """Walks raw tables beside the schema. What cannot be read becomes its default, or something of its type.

    What comes out when there are findings may be inspected and never used.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def read(self, kind: Any, value: object, path: ConfigPath) -> object:
        kind = _plain(kind)
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self.read(_member(kind, value), value, path)
        if origin is tuple:
            return self._items(get_args(kind)[0], value, path)
        if isinstance(kind, type) and issubclass(kind, Section):
            return self._table(kind, value, path)
        return self._leaf(kind, value, path)

    def _refuse(self, path: ConfigPath, what: str, fix: str) -> None:
        self.findings.append(Finding(path, f"`{dotted(path)}` {what}", fix))

    def _items(self, kind: Any, value: object, path: ConfigPath) -> tuple[object, ...]:
        if not isinstance(value, list):
            tables = _is_section(_plain(kind))
            fix = f"write [[{dotted(path)}]] with two brackets" if tables else "put it in brackets: [ … ]"
            self._refuse(path, f"must be a list, not {_noun(value)}", fix)
            return ()
        items = (self.read(kind, item, (*path, index)) for index, item in enumerate(value))
        return tuple(item for item in items if item is not _UNREAD)

    def _table(self, kind: type[Section], value: object, path: ConfigPath) -> object:
        if not isinstance(value, dict):
            several = isinstance(value, list)
            fix = f"write [{dotted(path)}] with one bracket" if several else "write it as a table: { key = value }"
            self._refuse(path, f"must be a table, not {_noun(value)}", fix)
            return kind(
                **{field.name: _stand_in(field.type) for field in msgspec.structs.fields(kind) if field.required}
            )
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name in value.keys() - fields.keys():
            self._unknown(name, fields.keys() - value.keys(), path)
        values = {}
        for name, field in fields.items():
            read: object = _UNREAD
            if name in value:
                read = self.read(field.type, value[name], (*path, name))
            elif field.required:
                self._refuse((*path, name), "is missing", _example(name, field.type))
            if read is not _UNREAD:
                values[name] = read
            elif field.required:
                values[name] = _stand_in(field.type)
        return kind(**values)

    def _unknown(self, name: str, free: Iterable[str], path: ConfigPath) -> None:
        meant = nearest(name, sorted(free))
        home = _home(name) if meant is None and not path else None
        if meant:
            fix = f"did you mean `{meant}`?"
        elif home:
            fix = f"it belongs in {home}"
        else:
            fix = "remove it; docs/configuration.md has every setting"
        self._refuse((*path, name), "is not a setting", fix)

    def _leaf(self, kind: Any, value: object, path: ConfigPath) -> object:
        try:
            return msgspec.convert(value, kind, dec_hook=_unit)
        except msgspec.ValidationError as error:
            if get_origin(kind) is Literal:
                self._choice(kind, value, path)
            elif kind in _UNITS:
                # Our own sentence, without the "at `$`" that the converter adds to it.
                what, _, example = str(error.__cause__ or error).partition(" such as ")
                self._refuse(path, what.replace("expected", "must be"), f"for instance {example}")
            else:
                self._refuse(
                    path, f"must be {_TYPES.get(kind, _TABLE)}, not {_noun(value)}", _FIXES.get(kind, _AS_TABLE)
                )
        return _UNREAD

    def _choice(self, kind: Any, value: object, path: ConfigPath) -> None:
        choices = get_args(kind)
        meant = nearest(value, choices) if isinstance(value, str) else None
        fix = f'did you mean "{meant}"?' if meant else "write one of them, in quotes"
        self._refuse(path, f"must be {any_of(choices)}", fix)


_UNREAD = object()
_TABLE, _AS_TABLE = "a table of names and values", 'write { name = "value" }'
_TYPES: dict[object, str] = {str: "text", int: "a whole number", bool: "true or false"}
_FIXES: dict[object, str] = {
    str: "put it in quotes",
    int: "write digits, without quotes",
    bool: "write true or false, without quotes",
}


_UNITS: dict[object, Callable[[object], object]] = {Seconds: Seconds.parse, Size: Size.parse, Moment: Moment.parse}
_EXAMPLES = {Seconds: 'duration such as "1h"', Size: 'size such as "18GiB"', Moment: "date such as 2027-01-31"}


def _unit(kind: type, value: object) -> object:
    """Values with a unit for `msgspec.convert`."""
    if kind not in _UNITS:
        raise NotImplementedError(kind)
    try:
        return _UNITS[kind](value)
    except OverflowError:  # hundreds of digits
        raise ValueError(f"expected a {_EXAMPLES[kind]}") from None


def _plain(kind: Any) -> Any:
    """The type without its notes, and without None, which TOML cannot say."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not types.NoneType]
        return members[0] if len(members) == 1 else kind
    return kind


def _stand_in(kind: Any) -> object:
    """Something of a type, for a setting without a default."""
    kind = _plain(kind)
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    return () if get_origin(kind) is tuple else ""


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _member(kind: Any, value: object) -> Any:
    """Which member of "text, a table or a list" a value is meant to be."""
    members = get_args(kind)
    if isinstance(value, dict):
        return next((member for member in members if _is_section(member)), members[0])
    if isinstance(value, list):
        return next((member for member in members if get_origin(member) is tuple), members[0])
    return members[0]


def _home(name: str) -> str | None:
    """The section that has a setting of this name, for one written above the first header."""
    for field in msgspec.structs.fields(Config):
        kind = _plain(field.type)
        several = get_origin(kind) is tuple
        section = get_args(kind)[0] if several else kind
        if any(inner.encode_name == name for inner in msgspec.structs.fields(section)):
            return f"[[{field.encode_name}]]" if several else f"[{field.encode_name}]"
    return None


def _example(name: str, kind: Any) -> str:
    kind = _plain(kind)
    if get_origin(kind) is Literal:
        return f"write {name} = {any_of(get_args(kind))}"
    return f'write {name} = ["…"]' if get_origin(kind) is tuple else f'write {name} = "…"'


def _noun(value: object) -> str:
    nouns: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a fraction"),
        (list, "a list"),
        (dict, "a table"),
        ((dt.date, dt.time), "a date or time"),
    )
    return next((noun for kind, noun in nouns if isinstance(value, kind)), "that")
