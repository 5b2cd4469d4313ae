"""`appliance keys`: make, list, rotate and revoke keys, whether or not a server runs."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from rich.text import Text

from appliance.cli import reach
from appliance.cli.tables import Listing, Row, columns, show
from appliance.config.schema import Limits
from appliance.config.units import Seconds
from appliance.keystore.file import KeyFile, fresh_text
from appliance.keystore.shown import configured_key, stored_key, toml_of
from appliance.keystore.stored import Keys, NewKey, made, require, revoked, rotated, with_new

_EXIT = "Exit codes: 0 done, 2 a mistake in the call, or it cannot be done."
_LIMITS = tuple(field.name for field in msgspec.structs.fields(Limits))
_SCOPES = ("infer", "metrics", "admin")


class Store(Protocol):
    """Where keys are changed: a running server, or the file of one that does not run."""

    def keys(self) -> dict[str, Any]:
        """All of them."""

    def create(self, wanted: NewKey) -> dict[str, Any]:
        """Make one; its text is under "key"."""

    def rotate(self, name: str, grace: float) -> dict[str, Any]:
        """Give one a new text, which is under "key"."""

    def revoke(self, name: str) -> dict[str, Any]:
        """End one."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and what it can do."""
    keys = commands.add_parser(
        "keys",
        help="make, list, rotate and revoke keys",
        description="Keys that work at once and are kept, as hashes, in the state directory. A running server is "
        "asked; where none runs, the file is changed. Keys of the configuration file are listed and not changed.",
        epilog=_EXIT,
    )
    actions = keys.add_subparsers(dest="action", metavar="create|list|rotate|revoke", required=True)
    create = actions.add_parser("create", help="make a key and print it, once", epilog=_EXIT)
    create.add_argument("name", metavar="NAME", help="shown in logs, metrics and usage")
    create.add_argument(
        "--scope", action="append", choices=_SCOPES, help="what it may do; default infer; may be given again"
    )
    create.add_argument("--model", action="append", metavar="PATTERN", help='models it may use; default "*"')
    create.add_argument("--limit", action="append", type=_limit, metavar="NAME=N", help=f"any of {', '.join(_LIMITS)}")
    create.add_argument("--expires", metavar="WHEN", help="a date (2027-01-31), or a time from now (90d)")
    create.add_argument("--tag", action="append", default=[], metavar="WORD", help="your own word about it")
    create.add_argument("--local-only", action="store_true", help="its requests never leave the box")
    create.add_argument("--weight", type=int, default=1, metavar="N", help="its share where requests wait; default 1")
    create.add_argument("--priority", type=int, default=0, metavar="N", help="higher ones go first; default 0")
    create.add_argument("--prefix", metavar="TEXT", help="what it begins with, instead of `key_prefix`")
    create.add_argument(
        "--print", action="store_true", dest="only_print", help="store nothing; print a section for the configuration"
    )
    listing = actions.add_parser("list", help="say which keys there are", epilog=_EXIT)
    listing.add_argument("--tag", action="append", default=[], metavar="WORD", help="only those with this word")
    rotate = actions.add_parser("rotate", help="give a key a new text and print it, once", epilog=_EXIT)
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument(
        "--grace", type=_grace, default=0.0, metavar="TIME", help="how long the old one still works (24h); default 0"
    )
    revoke = actions.add_parser("revoke", help="end a key at once", epilog=_EXIT)
    revoke.add_argument("name", metavar="NAME")
    for parser, run in ((create, _create), (listing, _list), (rotate, _rotate), (revoke, _revoke)):
        reach.add_options(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.set_defaults(run=run)


def _create(args: argparse.Namespace) -> int:
    wanted = NewKey(
        name=args.name,
        scopes=tuple(args.scope or ("infer",)),
        models=tuple(args.model or ("*",)),
        limits=Limits(**dict(args.limit)) if args.limit else None,
        expires=args.expires,
        tags=tuple(args.tag),
        local_only=args.local_only,
        weight=args.weight,
        priority=args.priority,
        prefix=args.prefix,
    )
    if args.only_print:
        return _print(args, wanted)
    answer = _store(args).create(wanted)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    text, asks = answer["key"], answer["asks_for_keys"]
    _told(f'This is the key "{args.name}", shown this once; only its hash is kept.')
    print(text)
    if not asks:
        _told("This server asks for no key until it is restarted.")
    _told("Next: give it to its user, who sends it as `Authorization: Bearer KEY`. See also: appliance keys list")
    return 0


def _print(args: argparse.Namespace, wanted: NewKey) -> int:
    prefix = reach.setting(args, "key_prefix") if wanted.prefix is None else wanted.prefix
    text = fresh_text(prefix)
    section = toml_of(made(wanted, text, prefix, _now()).section)
    if args.json:
        print(json.dumps({"key": text, "toml": section}, indent=2))
        return 0
    _told(f"The key, shown this once: {text}")
    print(section)
    _told("Next: add the section to the configuration file, then run: appliance reload")
    return 0


def _list(args: argparse.Namespace) -> int:
    answer = _store(args).keys()
    rows = [row for row in answer["keys"] if set(args.tag) <= set(row["tags"])]
    if args.json:
        print(json.dumps(answer | {"keys": rows}, indent=2))
        return 0
    if not rows:
        print("There is no such key. Next: appliance keys create NAME")
        return 0
    titles = ("NAME", "STATE", "BEGINS", "SCOPES", "EXPIRES")
    show(Listing(titles, [_row(row) for row in rows], "MORE").shown(columns()))
    return 0


def _row(row: dict[str, Any]) -> Row:
    state = row["state"] + (f" (old one until {row['old_works_until']})" if row["old_works_until"] else "")
    scopes = ", ".join(row["scopes"]) + (" (local only)" if row["local_only"] else "")
    start = f"{row['start']}…" if row["start"] else ""
    limits = ", ".join(f"{name}={value}" for name, value in row["limits"].items())
    told = (
        ("in the", row["source"] if row["source"] == "configuration" else ""),
        ("models", ", ".join(row["models"])),
        ("limits", limits),
        ("tags", ", ".join(row["tags"])),
    )
    words = "; ".join(f"{name} {values}" for name, values in told if values not in ("", "*"))
    expires = (row["expires"] or "never").removesuffix("T00:00:00Z")
    return (row["name"], state, start, scopes, expires), Text(words)


def _rotate(args: argparse.Namespace) -> int:
    answer = _store(args).rotate(args.name, args.grace)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    text, until = answer["key"], answer["old_works_until"]
    _told(f'This is the new key "{args.name}", shown this once; only its hash is kept.')
    print(text)
    _told(f"The old one works until {until}." if until else "The old one works no more.")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    answer = _store(args).revoke(args.name)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    done = "is revoked" if answer["changed"] else "was revoked already"
    print(f'The key "{args.name}" {done}. Requests under way end by themselves; new ones are refused.')
    return 0


def _store(args: argparse.Namespace) -> Store:
    return Server(args) if reach.answers(args) else File(args)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    args: argparse.Namespace

    def keys(self) -> dict[str, Any]:
        """As `Store`."""
        return reach.ask(self.args, "GET", "/ops/v1/keys")

    def create(self, wanted: NewKey) -> dict[str, Any]:
        """As `Store`."""
        return reach.ask(self.args, "POST", "/ops/v1/keys", msgspec.to_builtins(wanted))

    def rotate(self, name: str, grace: float) -> dict[str, Any]:
        """As `Store`."""
        return reach.ask(self.args, "POST", f"/ops/v1/keys/rotate/{quote(name)}?grace={grace:g}s")

    def revoke(self, name: str) -> dict[str, Any]:
        """As `Store`."""
        return reach.ask(self.args, "POST", f"/ops/v1/keys/revoke/{quote(name)}")


class File:
    """The file of a server that does not run; one that starts meanwhile sees the change within a second."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._file = KeyFile(reach.state_dir(args))
        self._prefix = reach.setting(args, "key_prefix")
        sections = reach.tables(args).get("keys", [])
        self._configured = [str(row.get("name")) for row in sections if isinstance(row, dict)]
        self._sections = reach.sections(args)

    def keys(self) -> dict[str, Any]:
        """As `Store`."""
        now = _now()
        rows = [configured_key(key, now) for key in self._sections]
        return {"keys": rows + [stored_key(key, now) for key in self._file.read()], "asks_for_keys": True}

    def create(self, wanted: NewKey) -> dict[str, Any]:
        """As `Store`."""
        now = _now()
        prefix = self._prefix if wanted.prefix is None else wanted.prefix
        text = fresh_text(prefix)
        new = made(wanted, text, prefix, now)
        self._file.change(lambda keys: with_new(keys, new, self._configured, now))
        return {"key": text, **stored_key(new, now), "asks_for_keys": True}

    def rotate(self, name: str, grace: float) -> dict[str, Any]:
        """As `Store`."""
        now, letters = _now(), fresh_text("")
        key = require(self._change(name, lambda keys: rotated(keys, name, letters, grace, now)), name, ())
        return {"key": key.prefix + letters, **stored_key(key, now), "asks_for_keys": True}

    def revoke(self, name: str) -> dict[str, Any]:
        """As `Store`."""
        now = _now()
        keys = self._change(name, lambda keys: revoked(keys, name, now))
        key = require(keys, name, ())
        return {"changed": key.revoked == now, **stored_key(key, now)}

    def _change(self, name: str, edit: Callable[[Keys], Keys]) -> Keys:
        def checked(keys: Keys) -> Keys:
            require(keys, name, self._configured)
            return edit(keys)

        return self._file.change(checked)


def _limit(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    digits = value.replace("_", "")
    if name not in _LIMITS or not digits.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is no limit: write NAME=N with one of {", ".join(_LIMITS)}')
    return name, int(digits)


def _grace(text: str) -> float:
    try:
        return Seconds.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no duration: write for instance 24h') from None


def _told(words: str) -> None:
    """Beside the key, so that `key=$(appliance keys create NAME)` holds the key alone."""
    print(words, file=sys.stderr)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)
