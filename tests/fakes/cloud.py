"""The clouds' APIs as their documents describe them, in a process of its own: `python -m tests.fakes.cloud PORT FILE`.

Every request is written to FILE, a JSON object a line, with its headers: that is how a test sees where a key went. The
name of the model says what happens; `replies` has the words.
"""

import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import cloud_replies as replies
from tests.fakes.product import free_port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    record: Path

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        self._note(request)
        model = request["model"]
        if model == "redirect":
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/stolen")  # type: ignore[attr-defined]
            self.send_header("content-length", "0")
            self.end_headers()
        elif model == "echo":  # repeats the key, as no provider should
            said = self.headers.get("authorization") or self.headers["x-api-key"]
            self._answer(401, replies.error(self.path, 401, f"Incorrect API key provided: {said}"))
        elif model.startswith("error-"):
            status = int(model.removeprefix("error-"))
            self._answer(status, replies.error(self.path, status, "Said the provider."))
        elif request.get("stream"):
            self._stream(model)
        else:
            self._answer(200, replies.whole(self.path, model))

    def _note(self, request: Any) -> None:
        line = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": request}
        with self.record.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "__cf_bm=canary-cookie; path=/")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, model: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = replies.events(self.path, model)
        try:
            if model == "endless":
                self._write(b"".join(events[:4]))
                while True:
                    self._write(events[3])
                    time.sleep(0.05)
            for event in events[: len(events) // 2] if model == "cut-short" else events:
                self._write(event)
            self._write(b"")
        except OSError:
            self._note({"gone": model})
            self.close_connection = True

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


class Cloud:
    """One that runs.

    Attributes:
        url: for `[[providers]]`.
    """

    def __init__(self, url: str, record: Path) -> None:
        self.url = url
        self._record = record

    def requests(self) -> list[Any]:
        return [json.loads(line) for line in self._record.read_text().splitlines()] if self._record.exists() else []

    def last(self) -> Any:
        return self.requests()[-1]


@contextlib.contextmanager
def cloud(folder: Path, tls: tuple[str, str] | None = None) -> Iterator[Cloud]:
    """A running one; with `tls`, a certificate and its key, it is reached as https://localhost."""
    port, record = free_port(), folder / "cloud.jsonl"
    argv = [sys.executable, "-m", "tests.fakes.cloud", str(port), str(record), *(tls or ())]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[2]) as process:
        try:
            url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
            end = time.monotonic() + 30
            while time.monotonic() < end:
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(url, verify=False)
                    break
                time.sleep(0.05)
            yield Cloud(url, record)
        finally:
            process.kill()


def main(port: str, record: str, *tls: str) -> None:
    _Handler.record = Path(record)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
