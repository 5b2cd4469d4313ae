"""With small programs in the place of `appliance doctor`; the real one is behind the page Health in test_console_parts."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.diagnosis.checks import Finding
from appliance.diagnosis.examination import Examination, examination_of
from appliance.supervisor.tree import become_subreaper

FOUND = [{"id": "host.disk", "grade": "warning", "text": "1 GiB free", "fix": "make room"}]
SAYS = f"print({json.dumps(json.dumps({'grade': 'warning', 'findings': FOUND}))})"


@asynccontextmanager
async def examination(code: str, patience: float = 20) -> AsyncIterator[Examination]:
    own = Examination([sys.executable, "-c", code], {}, lambda: 1000.0, patience=patience)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        yield own
        nursery.cancel_scope.cancel()


async def test_what_the_command_found_is_kept_with_its_time() -> None:
    async with examination(SAYS) as own:
        assert (own.findings, own.at) == ((), None)
        assert await own.look(20)
        assert own.findings == [Finding("host.disk", "warning", "1 GiB free", "make room")]
        assert (own.at, own.trouble) == (1000.0, "")


async def test_whoever_comes_meanwhile_waits_for_the_same_look(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    async with examination(f"open({str(marks)!r}, 'a').write('x'); {SAYS}") as own, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(own.look, 20)
    assert marks.read_text() == "x"


async def test_who_does_not_want_to_wait_does_not(tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    async with examination(waits + SAYS) as own:
        assert not await own.look(0.05)
        assert own.at is None
        go.touch()
        assert await own.look(20)
        assert own.findings


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time; time.sleep(60)", "did not end within"),
        ("raise SystemExit(1)", "without an answer"),
        ("print('no json')", "without an answer"),
        ("print('x' * 3_000_000)", "without an answer"),
    ],
)
async def test_what_gives_no_answer_is_ended_and_told_and_what_was_known_stays(code: str, words: str) -> None:
    async with examination(code, patience=1 if "sleep" in code else 20) as own:
        own.findings = [Finding("host.glibc", "ok", "glibc 2.36")]
        assert await own.look(20)
        assert words in own.trouble
        assert [finding.id for finding in own.findings] == ["host.glibc"]


async def test_nothing_of_it_is_left_when_the_server_ends_meanwhile(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    async with examination(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)") as own:
        assert not await own.look(0)
        while not mark.exists() or not mark.read_text():
            await own.look(0.02)
    assert not await trio.Path(f"/proc/{mark.read_text()}").exists()


@pytest.mark.parametrize("then", ["time.sleep(60)", "pass"], ids=["hangs", "ends"])
async def test_what_it_has_started_is_ended_with_it(tmp_path: Path, then: str) -> None:
    """Of the binary that is one file, the process that we start is not even the one that looks."""
    become_subreaper()  # as every server is
    mark = tmp_path / "pid"
    code = (
        f"import subprocess, time; open({str(mark)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); {then}"
    )
    async with examination(code, patience=1) as own:
        while not mark.exists() or not mark.read_text():
            assert await own.look(20)
    assert not await trio.Path(f"/proc/{mark.read_text()}").exists()


async def test_a_program_that_is_not_there_is_told() -> None:
    own = Examination(["/nowhere"], {}, lambda: 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        await own.look(20)
        assert "cannot be started" in own.trouble
        nursery.cancel_scope.cancel()


async def test_its_process_has_no_secret_of_ours(tmp_path: Path) -> None:
    own = examination_of(tmp_path / "c.toml", {"API_KEYS": "k1", "https_proxy": "http://u:pw@p", "OTHER": "x"}, float)
    assert {name: own._env.get(name) for name in ("API_KEYS", "https_proxy", "OTHER")} == {
        "API_KEYS": "set",
        "https_proxy": "set",
        "OTHER": None,
    }
    assert list(own._command)[-4:] == ["doctor", "--json", "--config", str(tmp_path / "c.toml")]
