"""The parser of the command line, and how mistakes are told."""

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module

from appliance import __version__
from appliance.cli.commands import COMMANDS, add_commands
from appliance.cli.misread import STUMBLES, misread
from appliance.errors import OperatorError


def build_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """Every command with its options; or, to be quick, one of them with its options and the others without."""
    parser = argparse.ArgumentParser(
        prog="appliance",
        description="Serves an organisation's own language models: launches engines, gives one OpenAI-compatible URL.",
        epilog="Start with `appliance demo`. Exit codes: 0 done, 1 failed, 2 a mistake of yours.",
    )
    parser.add_argument("--version", action="version", version=f"appliance {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_commands(commands, wanted)
    return parser


def _no_command(words: Sequence[str]) -> int:
    """2, once what is wrong with the first word has been told; 0 where it is a command, or an option."""
    known = [name for name, (_, meaning) in COMMANDS.items() if meaning]
    if not words:
        build_parser(wanted="").print_help(sys.stderr)
        return 2
    if words[0].startswith("-") or words[0] in COMMANDS:
        return 0
    meant = import_module("difflib").get_close_matches(words[0], known, n=1)  # not at every start
    guess = f"did you mean `appliance {meant[0]}`?" if meant else "`appliance --help` lists all."
    print(f"appliance: there is no command {words[0]!r}; {guess}", file=sys.stderr)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if mistake := _no_command(words):
        return mistake
    gc.disable()  # what is imported stays: to look for garbage among it again and again is a part of every start
    try:
        args = build_parser(wanted=words[0]).parse_args(words)
    finally:
        gc.freeze()  # nor when it is enabled: the first look would be at all of it, a tenth of a server's start
        gc.enable()
    try:
        code: int = args.run(args)
    except OperatorError as error:
        print(f"appliance: {error}", file=sys.stderr)
        return 2
    except STUMBLES as error:
        if not (told := misread(args, error)):
            raise
        print(f"appliance: {told}", file=sys.stderr)
        return 2
    except PermissionError as error:  # whatever place it is, the way out is the same
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"appliance: {where}{error.strerror}. Run this as the appliance's own user or as root (sudo).",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain at exit
        return 1
    return code
