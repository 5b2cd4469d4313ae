import argparse
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from appliance.cli import reach
from appliance.errors import OperatorError


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "key": self.headers.get("authorization")}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return ""


class OnSocket(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)  # a path
        self.server_name, self.server_port = "", 0


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "s"
    path.mkdir()
    with OnSocket(str(path / "ops.sock"), Handler) as server:  # type: ignore[arg-type]  # a path
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def args(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    reach.add_options(parser)
    return parser.parse_args(words)


def test_the_socket_is_found_by_state_dir_and_by_configuration_and_gets_no_key(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPLIANCE_KEY", "sk-env")
    config = tmp_path / "a.toml"
    config.write_text(f'[server]\nstate_dir = "{state_dir}"\n[[runtimes]]\nnmae = "being edited"\n')
    for words in (("--state-dir", str(state_dir)), ("--config", str(config))):
        assert reach.ask(args(*words), "GET", "/ops/v1/state?x=1") == {"path": "/ops/v1/state?x=1", "key": None}


def test_the_default_configuration_says_where_if_there_is_one(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "default.toml"
    monkeypatch.setattr(reach, "DEFAULT_CONFIG", str(config))
    with pytest.raises(OperatorError, match="/var/lib/appliance"):
        reach.ask(args(), "GET", "/")
    config.write_text(f'[server]\nstate_dir = "{state_dir}"\n')
    assert reach.ask(args(), "GET", "/")["path"] == "/"


def test_who_is_not_there_is_told_and_how_to_say_who_is_meant(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=f"no appliance runs with the state directory {tmp_path}") as nobody:
        reach.ask(args("--state-dir", str(tmp_path)), "GET", "/")
    assert "--config" in str(nobody.value)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "ops.sock"))
    with pytest.raises(OperatorError, match="no appliance runs"):
        reach.ask(args("--state-dir", str(tmp_path)), "GET", "/")


@pytest.mark.parametrize(
    ("text", "says"), [(None, "cannot read"), ("[server", "is not TOML"), ("server = 3", "/var/lib/appliance")]
)
def test_a_configuration_that_cannot_tell(tmp_path: Path, text: str | None, says: str) -> None:
    config = tmp_path / "a.toml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(OperatorError, match=says):
        reach.ask(args("--config", str(config)), "GET", "/")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_socket_is_refused_with_a_way_out(state_dir: Path) -> None:
    (state_dir / "ops.sock").chmod(0o600)
    assert stat.S_IMODE((state_dir / "ops.sock").lstat().st_mode) == 0o600
    os.seteuid(65534)
    try:
        with pytest.raises(OperatorError, match="sudo"):
            reach.ask(args("--state-dir", str(state_dir)), "GET", "/")
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("body", [{"detail": "Not Found"}, {"error": "Not Found"}, ["Not Found"]])
def test_an_engine_in_the_place_of_an_appliance_is_told(body: object) -> None:
    request = httpx.Request("GET", "http://box:8000/ops/v1/usage")
    with pytest.raises(OperatorError, match=r"http://box:8000/ops/v1/usage is no appliance: status 404"):
        reach.answered(httpx.Response(404, json=body, request=request))
