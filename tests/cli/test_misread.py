"""Every command that asks a server, and a server that answers as no version of ours does."""

import argparse
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from appliance import __version__
from appliance.cli.main import main
from appliance.cli.misread import Asked, misread
from appliance.domain.http import VERSION

OTHER = {name: [7] for name in ("models", "replicas", "usage", "keys", "events", "lines", "ok", "state")}
COMMANDS = (
    "status",
    "top --once",
    "events",
    "events --follow",
    "load m",
    "reload",
    "logs m",
    "logs m --follow",
    "models list",
    "models explain m",
    "models on m",
    "keys list",
    "keys create m",
    "keys rotate m",
    "keys revoke m",
    "usage",
    "console",
)


class Handler(BaseHTTPRequestHandler):
    version: ClassVar[str] = ""
    body: ClassVar[bytes] = b"{}"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        follows = "follow=1" in self.path
        body = b"data: %b\n\n" % self.body if follows else self.body
        self.send_response(200)
        if self.version:
            self.send_header(VERSION, self.version)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def handler() -> Iterator[type[Handler]]:
    class Fresh(Handler):
        port = 0

    with ThreadingHTTPServer(("127.0.0.1", 0), Fresh) as server:
        Fresh.port = server.server_address[1]
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        yield Fresh
        server.shutdown()
        thread.join()


def ask(handler: type[Handler], command: str) -> int:
    return main([*command.split(), "--url", f"http://127.0.0.1:{handler.port}"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"{}", None], ids=["lacks", "differs"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_read_is_one_line_with_both_versions(
    handler: type[Handler], capsys: pytest.CaptureFixture[str], command: str, body: bytes | None
) -> None:
    handler.version, handler.body = "7.7", body or repr(OTHER).replace("'", '"').encode()
    assert ask(handler, command) == 2
    told = capsys.readouterr().err
    assert told.startswith("appliance: ")
    assert told.count("\n") == 1
    for part in ("/ops/v1/", f"http://127.0.0.1:{handler.port}", "version 7.7", __version__, "Use the command of"):  # type: ignore[attr-defined]
        assert part in told


def test_what_is_missing_is_named_and_a_server_without_a_version_is_an_older_one_or_none(
    handler: type[Handler], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(handler, "usage") == 2
    assert (
        f"which does not say its version, answered in a form that this version, {__version__}, does not know (no "
        in (told := capsys.readouterr().err)
    )
    assert "`usage`" in told
    assert "look at the address" in told


def test_of_a_server_of_the_same_version_it_is_a_bug(handler: type[Handler]) -> None:
    handler.version = __version__
    with pytest.raises(KeyError, match="usage"):
        ask(handler, "usage")


def test_where_nobody_was_asked_it_is_a_bug_too() -> None:
    assert not misread(argparse.Namespace(), KeyError("x"))


def test_what_a_task_stumbled_over_is_told_like_the_rest_and_two_troubles_at_once_are_not() -> None:
    args = argparse.Namespace(asked=Asked("GET /x", "an appliance", "7.7"))
    wrapped = ExceptionGroup("", [ExceptionGroup("", [KeyError("time")])])
    assert "(no `time`)" in misread(args, wrapped)
    assert not misread(args, ExceptionGroup("", [KeyError("a"), OSError("b")]))
