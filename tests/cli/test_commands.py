import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import appliance.cli
from appliance.cli.commands import COMMANDS
from appliance.cli.main import build_parser


def listed(parser: argparse.ArgumentParser) -> dict[str, str | None]:
    """The list of commands with their words."""
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {choice.dest: choice.help for choice in action._choices_actions}


def test_the_list_is_the_same_however_much_is_imported() -> None:
    whole = listed(build_parser())
    assert whole == {name: words for name, (_, words) in COMMANDS.items() if words}
    for wanted in ("", "no-such-command", *COMMANDS):
        assert listed(build_parser(wanted)) == whole


def test_every_file_of_commands_is_in_the_list() -> None:
    folder = Path(appliance.cli.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "def add_parser(" in path.read_text()}
    assert files == {file for file, _ in COMMANDS.values()}


@pytest.mark.parametrize("words", ["--help", "version", "check --help", "completion --help"])
def test_what_needs_no_server_does_not_import_one(words: str) -> None:
    code = (
        "import sys; from appliance.cli.main import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        "print([name for name in ('trio', 'quart', 'httpx') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


SECOND_DOOR = ("quart", "hypercorn", "h2")


@pytest.mark.parametrize(("served", "files"), [(True, ["serve"]), (False, ["demo", "selftest", "serve"])])
def test_the_second_door_is_imported_before_a_server_and_by_nothing_else(served: bool, files: list[str]) -> None:
    """Quart imported later held up the first streams: the first tokens of 64 were 50 ms late in place of 5."""
    wanted = files if served else sorted({file for file, _ in COMMANDS.values()} - set(files))
    code = (
        "import importlib, sys\n"
        f"for file in {wanted!r}: importlib.import_module(f'appliance.cli.{{file}}')\n"
        f"print([name for name in {SECOND_DOOR!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(list(SECOND_DOOR) if served else [])
