"""The building plan, checked: who may import whom, what each room may touch, how big a file may be.

Add a room by adding a row to ROOMS. A room imports itself, the rooms in its row and nothing else.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "appliance"
MAX_LINES = 400

VALUES = {"errors", "domain"}
SETTINGS = VALUES | {"config"}
BYTES = {"http1", "sse", "wire", "translate"}
DECISIONS = {"fleet", "access", "routing", "limits", "guardrails", "queueing", "breakers", "parameters"}

# room -> (rooms it may import, third-party packages it may import)
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "__init__": (set(), set()),
    # values
    "errors": (set(), set()),
    "domain": ({"errors"}, set()),
    "config": (VALUES | {"durable"}, {"msgspec", "cryptography", "tomlkit"}),
    # bytes: no clock, no task, no socket
    "http1": (VALUES, {"httptools"}),
    "sse": ({"errors"}, set()),
    "wire": (VALUES | {"sse"}, {"msgspec"}),
    "translate": (VALUES | {"sse", "wire"}, {"msgspec"}),
    # decisions: time is an argument
    "fleet": (VALUES, set()),
    "access": (SETTINGS, set()),
    "routing": (SETTINGS | {"fleet", "wire"}, set()),
    "limits": (SETTINGS, set()),
    "guardrails": (SETTINGS, {"re2", "pydantic_core", "stdnum", "msgspec"}),
    "queueing": (set(), set()),
    "parameters": (SETTINGS, {"msgspec"}),
    "breakers": (VALUES, set()),
    # the outside, one room per outsider; what two of them share
    "sockets": (set(), {"trio", "outcome"}),
    "upstream": (SETTINGS | {"http1", "sockets"}, {"trio", "httpx", "trio_websocket"}),
    "supervisor": (SETTINGS | {"fleet", "routing", "durable"}, {"trio", "msgspec"}),
    "gpus": (VALUES, {"trio", "msgspec"}),
    "takeover": (VALUES | {"breakers", "limits", "supervisor"}, {"trio", "msgspec"}),
    "health": (SETTINGS | {"fleet"}, {"trio", "msgspec"}),
    "storage": (VALUES, {"trio"}),
    "usage": (VALUES | {"storage"}, {"trio"}),
    "events": (VALUES | {"storage"}, {"trio", "msgspec"}),
    "service": (set(), {"trio"}),
    "installation": (VALUES, set()),
    "diagnosis": (SETTINGS | {"authority", "gpus", "guardrails", "observe", "supervisor"}, {"trio", "msgspec"}),
    "authority": (SETTINGS | {"durable"}, {"trio", "cryptography"}),
    "durable": (set(), set()),
    "recipes": ({"config"}, set()),
    "keystore": (SETTINGS | {"access", "durable"}, {"trio", "msgspec"}),
    "observe": (VALUES, {"prometheus_client", "msgspec", "trio"}),
    # the path
    "gateway": (SETTINGS | BYTES | DECISIONS | {"upstream", "observe"}, {"trio", "msgspec"}),
    # surfaces
    "door": (SETTINGS | {"http1", "sockets"}, {"trio", "hypercorn", "h2"}),
    "api": (
        VALUES | {"access", "limits", "wire", "translate", "gateway", "observe"},
        {"trio", "msgspec", "quart", "quart_trio", "werkzeug"},
    ),
    "ops": (
        SETTINGS
        | {
            "access",
            "api",
            "editing",
            "events",
            "fleet",
            "gateway",
            "health",
            "keystore",
            "limits",
            "observe",
            "routing",
            "usage",
        },
        {"msgspec", "trio"},
    ),
    "console": (
        SETTINGS | {"access", "api", "editing", "events", "health", "keystore", "observe", "ops", "recipes", "usage"},
        {"msgspec", "trio", "jinja2", "markupsafe"},
    ),
    "pages": (VALUES | {"access", "api", "translate", "wire"}, {"msgspec", "trio", "markdown_it"}),
    # beside the product: a model server for tests and `selftest`, sharing nothing with the path it tests
    "scripted": (set(), {"trio", "httptools", "trio_websocket"}),
    # assembly
    "garbage": (set(), {"trio"}),
    "large_pages": (set(), {"trio"}),
    "reload": ({"*"}, {"trio"}),
    "editing": (SETTINGS | {"reload"}, {"trio", "msgspec"}),
    "private_door": ({"*"}, {"trio"}),
    "roster": (SETTINGS | {"access", "limits", "keystore", "observe", "recording", "usage"}, {"msgspec"}),
    "encryption": ({"*"}, {"trio"}),
    "recording": (SETTINGS | {"limits", "observe", "storage", "usage"}, {"trio"}),
    "telling": ({"*"}, set()),
    "scraping": ({"*"}, set()),
    "operating": ({"*"}, {"trio"}),
    "policy": (SETTINGS | {"fleet", "breakers", "gateway", "observe", "parameters"}, set()),
    "console_parts": ({"*"}, {"trio", "jinja2"}),
    "console_editing": ({"*"}, set()),
    "upgrades": (SETTINGS | {"reload", "supervisor", "takeover"}, {"trio"}),
    "handing_over": ({"*"}, {"trio"}),
    "taking_over": ({"*"}, {"trio"}),
    "parts": ({"*"}, {"trio"}),
    "serve": ({"*"}, {"trio"}),
    "cli": (
        SETTINGS
        | {
            "authority",
            "serve",
            "reload",
            "service",
            "installation",
            "diagnosis",
            "guardrails",
            "keystore",
            "sockets",
            "observe",
            "usage",
            "gpus",
            "recipes",
            "scripted",
            "supervisor",
            "takeover",
            "upgrades",
            "__init__",
        },
        {"trio", "trio_websocket", "httpx", "rich", "shtab", "msgspec"},
    ),
    "__main__": ({"cli"}, set()),
}
MACHINE = {"socket", "subprocess", "time", "os", "random", "secrets", "signal", "fcntl", "ctypes", "select", "sqlite3"}
MAY_TOUCH_MACHINE = {
    "config",
    "sockets",
    "observe",
    "upstream",
    "supervisor",
    "door",
    "scripted",
    "serve",
    "cli",
    "storage",
    "events",
    "usage",
    "gpus",
    "service",
    "installation",
    "diagnosis",
    "durable",
    "authority",
    "encryption",
    "keystore",
    "large_pages",
    "recording",
    "operating",
    "console_parts",
    "telling",
    "parts",
    "takeover",
    "upgrades",
    "handing_over",
    "taking_over",
    "private_door",
}
NOBODY = {"asyncio", "threading", "concurrent", "multiprocessing", "requests"}
# pure files in rooms that may otherwise touch the world
PURE_FILES = {
    "supervisor/plan.py",
    "supervisor/box.py",
    "supervisor/room.py",
    "supervisor/queues.py",
    "supervisor/swaps.py",
    "supervisor/fit.py",
    "supervisor/pauses.py",
    "supervisor/liveness.py",
    "supervisor/progress.py",
    "supervisor/readings.py",
    "supervisor/refusals.py",
    "supervisor/verdict.py",
    "supervisor/states.py",
    "supervisor/handing.py",
    "takeover/messages.py",
    "takeover/talk.py",
    "health/report.py",
    "keystore/stored.py",
    "keystore/shown.py",
    "config/check.py",
    "config/check_tls.py",
    "authority/subject.py",
    "diagnosis/checks.py",
    "diagnosis/redaction.py",
    "installation/steps.py",
    "installation/first_config.py",
    "config/locate.py",
    "config/masking.py",
}
# third parties with one home inside their room
ONLY_IN = {
    "cryptography": {"config/pem.py", "authority/issue.py"},
    "hypercorn": {"door/handover.py"},
    "markdown_it": {"pages/markdown.py"},
    "tomlkit": {"config/edit.py"},
    "trio_websocket": {"upstream/websocket.py", "scripted/realtime.py", "cli/top.py"},
    "h2": {"door/handover.py"},
    "httpx": {"upstream/secure.py", "cli/demo.py", "cli/selftest.py", "cli/reach.py"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports are absolute"
            stem = node.module or ""
            found += [(node.lineno, f"appliance.{alias.name}") for alias in node.names] if stem == "appliance" else []
            found += [(node.lineno, stem)] if stem != "appliance" else []
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_plan(path: Path) -> None:
    room, inside = room_of(path), path.relative_to(PACKAGE).as_posix()
    assert room in ROOMS, f"{room} is not in ROOMS: add a row saying what it may import"
    rooms, packages = ROOMS[room]
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        where = f"{inside}:{line}"
        if top == "appliance":
            target = rest.partition(".")[0]
            ok = target in {"", "__version__", room} or target in rooms or "*" in rooms
            assert ok, f"{where} {room} must not import {target}"
        elif top in NOBODY:
            raise AssertionError(f"{where} nobody imports {top} here")
        elif top in MACHINE:
            assert room in MAY_TOUCH_MACHINE, f"{where} {room} must not touch {top}"
            assert inside not in PURE_FILES, f"{where} is pure and must not touch {top}"
        elif top not in sys.stdlib_module_names:
            assert top in packages, f"{where} {room} must not import {top}"
            assert inside not in PURE_FILES or top == "msgspec", f"{where} is pure and must not import {top}"
            assert inside in ONLY_IN.get(top, {inside}), f"{where} {top} has another home: {ONLY_IN[top]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_hides_inside_a_function(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n.lineno for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{path.name}:{inner[0]} import inside {node.name}()"


def test_nothing_new_is_raised_where_a_group_is_caught() -> None:
    """Until Python 3.11.4, and Debian 12 has 3.11.2, it would be raised in a group: a traceback for the user."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.TryStar):
                raised = [
                    n for handler in node.handlers for n in ast.walk(handler) if isinstance(n, ast.Raise) and n.exc
                ]
                assert not raised, f"{path.name}:{raised[0].lineno} raise it after the except*"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small_and_have_a_twin_test(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
    if path.name not in {"__init__.py", "__main__.py"}:
        inside = path.relative_to(PACKAGE)
        twin = ROOT / "tests" / inside.with_name(f"test_{inside.name}")
        assert twin.exists(), f"{inside} needs {twin.relative_to(ROOT)}"


BESIDE = [
    path
    for folder in ("bench", "tests")
    for path in sorted((ROOT / folder).rglob("*.[chp]*"))
    if path.suffix in {".py", ".c", ".h"}
]


@pytest.mark.parametrize("path", BESIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_test_files_stay_small_too(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_every_room_says_what_it_is_and_what_does_not_belong() -> None:
    for init in PACKAGE.glob("*/__init__.py"):
        text = ast.get_docstring(ast.parse(init.read_text())) or ""
        assert "does not belong" in " ".join(text.split()), init


def test_no_file_is_called_after_nothing() -> None:
    assert not [path for path in MODULES if path.stem in {"utils", "util", "helpers", "helper", "common", "misc"}]


def test_the_plan_has_no_cycles() -> None:
    done: set[str] = set()

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, " -> ".join([*trail, room])
        if room not in done:
            for target in ROOMS[room][0] - {"*"}:
                visit(target, (*trail, room))
            done.add(room)

    for room in ROOMS:
        visit(room, ())
