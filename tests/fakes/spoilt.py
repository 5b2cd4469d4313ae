"""A model server that answers as some do: with bytes as they are written down here, by the name of the model."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Spoilt:
    """What it says and what it was asked.

    Attributes:
        url: where it is.
        streams: the body of a streamed answer, by the name of the model.
        refusals: the status of a refusal, by the name of the model.
        piece: bytes in one write of a streamed answer; 0 is all at once.
        idle: seconds after which it closes a connection without a word; None never.
        asked: paths, headers and bodies of all requests but those of probes, in their order.
    """

    url: str = ""
    streams: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    piece: int = 0
    idle: float | None = None
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        names = self._script.streams
        self._answer(200, json.dumps({"data": [{"id": name, "object": "model"} for name in names]}).encode())

    def do_POST(self) -> None:
        script = self._script
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        name = body["model"]
        if name in script.refusals:
            self._answer(script.refusals[name], b'{"error":{"message":"no","type":"x","code":null,"param":null}}')
        elif body.get("stream"):
            self._stream(script.streams[name], script.piece)
        else:
            message = {"role": "assistant", "content": "whole"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer(200, json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode())

    @property
    def _script(self) -> Spoilt:
        assert isinstance(self.server, _Server)
        return self.server.script

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.connection.settimeout(self._script.idle)

    def _stream(self, body: bytes, piece: int) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        size = piece or len(body)
        for at in range(0, len(body), size):
            part = body[at : at + size]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            if piece:
                time.sleep(0.0002)
        self.wfile.write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Spoilt) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        script.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # a client that leaves is no news


@contextlib.contextmanager
def spoilt() -> Iterator[Spoilt]:
    """One that runs for as long as the block."""
    with _Server(Spoilt()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.script
        finally:
            server.shutdown()
            thread.join()
