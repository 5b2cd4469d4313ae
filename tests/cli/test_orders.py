import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import main

ROW = {
    "replica": "m",
    "state": "quarantined",
    "seconds": 7300,
    "busy": 0,
    "starts": 1,
    "pid": None,
    "stage": "",
    "progress": "",
    "percent": None,
    "reason": "exit code 1",
    "advice": "Correct `model`.",
}


class Server(HTTPServer):
    answer: tuple[int, Any] = (200, {})
    asked: tuple[str, str, str | None] = ("", "", None)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked = (self.command, self.path, self.headers.get("authorization"))
        status, value = self.server.answer
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - see above

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run(server: Server, *words: str) -> int:
    return main([*words, "--url", f"http://127.0.0.1:{server.server_port}"])


def test_status_shows_the_gpus_and_what_is_wrong_with_them(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = {"index": 0, "name": "H100", "used": 2**30, "total": 80 * 2**30, "utilization": 97.0, "temperature": 66.0}
    fine, silent = gpu | {"fault": "", "known": True}, gpu | {"fault": "", "known": False, "temperature": None}
    broken = gpu | {"fault": "it has fallen off the bus (Xid 79)", "known": True, "utilization": None}
    server.answer = (200, {"replicas": [], "backends": [], "gpus": [fine, silent, broken]})
    assert run(server, "status") == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[-3:] == [
        "0 H100 1.0 of 80.0 GiB 97 % 66 °C - ok",
        "0 H100 1.0 of 80.0 GiB 97 % - - fault does not answer",
        "0 H100 1.0 of 80.0 GiB - 66 °C - fault it has fallen off the bus (Xid 79)",
    ]


def test_status_shows_who_waits_and_who_is_left_alone(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    idle = {"runtime": "idle", "slots": 4, "running": 1, "waiting": 0}
    full = {"runtime": "qwen", "slots": 4, "running": 4, "waiting": 12}
    circuit = {"target": "box/x", "state": "open", "reason": "no connection", "failures": 5, "next_try": 3.5}
    server.answer = (200, {"replicas": [], "backends": [], "queues": [idle, full], "circuits": [circuit]})
    assert run(server, "status") == 0
    said = capsys.readouterr().out
    assert "qwen: 4 of 4 slots are busy, 12 requests wait" in said
    assert "idle" not in said
    assert "box/x is left alone: 5 failures in a row (no connection); tried again in 3.5 s" in said


def test_a_reload_that_changes_settings_only_says_so(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("problems", "runtimes", "keys", "models", "backends", "providers", "guardrails", "restart")
    nothing: dict[str, list[str]] = {name: [] for name in what}
    server.answer = (200, {"ok": True, "settings": ["server.queue_wait"]} | nothing)
    assert run(server, "reload") == 0
    said = capsys.readouterr().out
    assert "settings: server.queue_wait" in said
    assert "Nothing differs" not in said


def test_what_a_model_does_and_why_are_one_sentence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    again = {"state": "loading", "stage": "loading weights", "reason": "after killed by signal 9.", "advice": ""}
    server.answer = 200, {"replicas": [ROW | again], "backends": []}
    assert run(server, "status") == 0
    assert "loading weights after killed by signal 9" in capsys.readouterr().out


def test_status_is_a_table_and_says_what_to_do(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    backend = {"name": "box", "healthy": False, "reason": "refused"}
    server.answer = 200, {"replicas": [ROW, ROW | {"replica": "n", "percent": 41.6}], "backends": [backend]}
    assert run(server, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:7] == ["m", "quarantined", "-", "-", "0", "2h", "1"]
    assert "exit code 1. Correct `model`." in lines[1]
    assert "42 %" in lines[2]
    assert lines[5].split()[:2] == ["box", "unhealthy"]
    assert lines[-1].endswith("appliance load m (the same for n)")


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ({"ok": True, "changed": True, "state": "ready", "detail": ""}, 0, "m is ready\n"),
        ({"ok": True, "changed": False, "state": "ready", "detail": ""}, 0, "m is already ready\n"),
        (
            {"ok": False, "changed": True, "state": "backoff", "detail": "it died"},
            1,
            "m is backoff: it died\nNext: appliance logs m\n",
        ),
    ],
)
def test_orders(server: Server, answer: Any, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = (200 if answer["ok"] else 409), answer
    assert run(server, "load", "m") == code
    assert capsys.readouterr().out == told
    assert server.asked[:2] == ("POST", "/ops/v1/load/m")


def test_the_key_comes_from_a_file_or_the_environment_and_is_never_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = 403, {"error": {"message": "The key 'a' lacks the scope 'admin'."}}
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    assert run(server, "status", "--key-file", str(file)) == 2
    assert server.asked[2] == "Bearer sk-file"
    monkeypatch.setenv("APPLIANCE_KEY", "sk-env")
    assert run(server, "status") == 2
    assert server.asked[2] == "Bearer sk-env"
    told = capsys.readouterr().err
    assert "lacks the scope" in told
    assert "--key-file" in told
    assert "sk-" not in told


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", "http://127.0.0.1:1"]) == 2
    assert "Is it running?" in capsys.readouterr().err
    assert main(["status", "--url", "http://127.0.0.1:1", "--key-file", "/no/such"]) == 2


def test_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = 200, {"replicas": [], "backends": []}
    assert run(server, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == server.answer[1]
