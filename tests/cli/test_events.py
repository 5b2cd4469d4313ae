import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.cli.events import place
from appliance.errors import OperatorError
from tests.cli.test_orders import Server, run, server
from tests.fakes.product import product, runtime

__all__ = ["server"]
EVENT = {
    "id": 1764114114120,
    "time": "2025-11-25T23:41:54.120Z",
    "kind": "key.created",
    "subject": "ci",
    "words": "It was\nmade \u202e.",
    "facts": {},
}


@pytest.fixture
def answering(server: Server) -> Server:
    server.answer = (200, {"events": [EVENT], "last": EVENT["id"]})
    return server


def test_people_get_a_line_without_control_characters(answering: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "events") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("key.created        ci                   It was made \\u202e.")
    assert answering.asked[1] == "/ops/v1/events?limit=20"


def test_programs_get_an_object_a_line(answering: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "events", "--json", "--kind", "key", "--subject", "ci", "--last", "5") == 0
    assert json.loads(capsys.readouterr().out) == EVENT
    assert answering.asked[1] == "/ops/v1/events?limit=5&kind=key&subject=ci"


def test_all_since_a_time_are_asked_for_in_pages(answering: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "events", "--since", "1764114000000") == 0
    assert answering.asked[1] == "/ops/v1/events?limit=1000&since=1764114000000"
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_times_are_ids() -> None:
    now = 1_764_114_114.0
    assert place("2h", now) == 1_764_114_114_000 - 7_200_000
    assert place("1764114114120", now) == 1_764_114_114_120
    when = datetime(2025, 11, 25, 10, 0, tzinfo=UTC)
    assert place("2025-11-25T10:00+00:00", now) == int(when.timestamp() * 1000) - 1
    for wrong in ("yesterday", "", "h", "-2h", "12"):
        with pytest.raises(OperatorError, match="is no time"):
            place(wrong, now)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_following_until_the_server_ends(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m")) as box:
        box.ready("m")
        argv = [sys.executable, "-m", "appliance", "events", "-f", "--last", "1000", "--json"]
        argv += ["--state-dir", str(box.state / "s")]
        out = tmp_path / "out"
        with out.open("wb") as file:
            follower = subprocess.Popen(argv, stdout=file, stderr=subprocess.PIPE, env=box.environment)
            try:
                box.until(lambda: "server.started" in out.read_text(), 30)
                assert box.ops("POST", "/unload/m").json()["ok"]
                box.until(lambda: "admin.action" in out.read_text(), 30)
                box.stop()
                _, errors = follower.communicate(timeout=30)
            finally:
                follower.kill()
                follower.wait()
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert told[-1]["kind"] == "server.stopping"
    assert [event["id"] for event in told] == sorted({event["id"] for event in told})
    assert (follower.returncode, errors.decode()) == (1, "appliance: The server is going away.\n")


def test_a_kind_that_there_is_not_is_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = (422, {"error": {"message": "`kind`: 'x' is no kind of event."}})
    assert run(server, "events", "--kind", "x") == 2
    assert "no kind of event" in capsys.readouterr().err
