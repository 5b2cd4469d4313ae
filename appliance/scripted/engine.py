"""How the scripted engine says it: the listener, the connections, and the ways to fail."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import httptools
import trio

from appliance.scripted import replies

_JSON = "application/json"
_READ = 65536
_HUGE = b"<html><body><h1>Internal Server Error</h1>" + b"<p>x</p>" * 131072 + b"</body></html>"
_GARBAGE = {"http": b"\x00\x01 this is not HTTP \xff\xfe\r\n\r\n", "event": b"data: {not json\n\n"}
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Script:
    """What one scripted engine does. Every field is a flag of `appliance _engine`; the default does no harm.

    Attributes:
        socket: path of the unix socket to listen on; else `host` and `port`.
        host: address to listen on.
        port: 0 chooses a free one, printed on standard output.
        model: the name in `/v1/models`.
        tokens: length of a reply that nothing cuts short.
        load_seconds: answer 503 "Loading model" for this long.
        first_byte_delay: seconds before a reply's first byte.
        token_delay: seconds before each token.
        exit_after_ready: exit with this code, half a second after loading.
        crash_after_tokens: SIGKILL itself after so many tokens of a reply.
        stall_after_tokens: go silent after so many tokens.
        truncate_after_tokens: end the stream cleanly, but without finish reason and `[DONE]`.
        cut_after_tokens: break the connection in the middle of a chunk.
        error_event_after: after so many tokens send an error event and end the stream.
        only_done: streams hold `[DONE]` and nothing else.
        garbage: answer POST with bytes that are not HTTP ("http"), or streams with events that are not JSON ("event").
        huge_error: answer POST with 500 and a megabyte of HTML.
        status: answer POST with this status and an error object.
        redirect: answer POST with a redirect.
        no_embeddings: answer the embeddings route with this status.
        ignore_term: SIGTERM and SIGINT do nothing.
        grandchild: start a process in a session of its own that ignores TERM.
        log_flood: write log lines as fast as it can.
    """

    socket: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    model: str = "scripted"
    tokens: int = replies.DEFAULT_TOKENS
    load_seconds: float = 0.0
    first_byte_delay: float = 0.0
    token_delay: float = 0.0
    exit_after_ready: int | None = None
    crash_after_tokens: int | None = None
    stall_after_tokens: int | None = None
    truncate_after_tokens: int | None = None
    cut_after_tokens: int | None = None
    error_event_after: int | None = None
    only_done: bool = False
    garbage: Literal["", "http", "event"] = ""
    huge_error: bool = False
    status: int | None = None
    redirect: bool = False
    no_embeddings: int | None = None
    ignore_term: bool = False
    grandchild: bool = False
    log_flood: bool = False


@dataclass(slots=True)
class State:
    """What `GET /_state` reports; the test tool's window into the process."""

    running: int = 0
    cancelled: int = 0
    served: int = 0
    last_request: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Request:
    method: str = ""
    path: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True


class _Hangup(Exception):  # noqa: N818 - it is an order, not an error
    """Close this connection now; the script wants it so."""


class _Parser:
    """Collects llhttp's callbacks into requests."""

    def __init__(self) -> None:
        self.complete: list[_Request] = []
        self.expects_continue = False
        self._request = _Request()
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> list[_Request]:
        """The requests that these bytes completed."""
        self._parser.feed_data(data)
        complete, self.complete = self.complete, []
        return complete

    def on_message_begin(self) -> None:
        self._request = _Request()

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._request.method = self._parser.get_method().decode()
        self.expects_continue = ("expect", "100-continue") in self._request.headers

    def on_body(self, body: bytes) -> None:
        self._request.body += body

    def on_message_complete(self) -> None:
        self._request.keep_alive = self._parser.should_keep_alive()
        self.complete.append(self._request)


class ScriptedEngine:
    """The server. It ends when it is cancelled; signals and exit codes are `run`'s business."""

    def __init__(self, script: Script, *, die: Callable[[], None] | None = None) -> None:
        self.script = script
        self.state = State()
        self.loaded = trio.Event()
        self._die = die or _kill_self

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and answer until cancelled; reports the port (0 for a unix socket).

        Raises:
            OSError: the address is taken or not allowed.
        """
        listeners = await self._listen()
        port: int = 0 if self.script.socket else listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._connection, listeners)
            task_status.started(port)
            await trio.sleep(self.script.load_seconds)
            self.loaded.set()

    async def _listen(self) -> list[trio.SocketListener]:
        if not self.script.socket:
            return await trio.open_tcp_listeners(self.script.port, host=self.script.host)
        # The path of a process that was killed stays behind, and bind refuses it.
        await trio.Path(self.script.socket).unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await sock.bind(self.script.socket)
        sock.listen(1024)
        return [trio.SocketListener(sock)]

    async def _connection(self, stream: trio.SocketStream) -> None:
        send, receive = trio.open_memory_channel[_Request](64)
        async with stream:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, stream, send, nursery.cancel_scope)
                    async for request in receive:
                        await self._answer(stream, request)
                        if not request.keep_alive:
                            break
                    nursery.cancel_scope.cancel()
            except* (_Hangup, trio.BrokenResourceError, trio.ClosedResourceError, httptools.HttpParserError):
                pass

    async def _read(
        self, stream: trio.SocketStream, send: trio.MemorySendChannel[_Request], scope: trio.CancelScope
    ) -> None:
        """Read while the answer is being made: the end of the input is how a client says that it left."""
        parser = _Parser()
        while data := await stream.receive_some(_READ):
            complete = parser.feed(data)
            if parser.expects_continue and not complete:
                parser.expects_continue = False
                await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            for request in complete:
                await send.send(request)
        scope.cancel()

    async def _answer(self, stream: trio.SocketStream, request: _Request) -> None:
        path = request.path.partition("?")[0]
        if request.method == "GET":
            status, body = self._get(path)
            await stream.send_all(_head(status, _JSON, len(body)) + body)
            return
        self.state.last_request = {
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
        }
        self.state.running += 1
        finished = False
        try:
            await self._post(stream, path, request.body)
            finished = True
        except _Hangup:
            finished = True
            raise
        finally:
            self.state.running -= 1
            self.state.served += finished
            self.state.cancelled += not finished

    def _get(self, path: str) -> tuple[int, bytes]:
        if path == "/_state":
            return 200, json.dumps(asdict(self.state)).encode()
        if not self.loaded.is_set():
            return 503, replies.error(503, "Loading model", "unavailable_error")
        if path == "/health":
            return 200, b'{"status":"ok"}'
        if path == "/v1/models":
            return 200, replies.models(self.script.model)
        return 404, replies.error(404, "File Not Found", "not_found_error")

    async def _post(self, stream: trio.SocketStream, path: str, body: bytes) -> None:
        await trio.sleep(self.script.first_byte_delay)
        refusal = self._refusal(path)
        if refusal is not None:
            await stream.send_all(refusal)
            if self.script.garbage == "http":
                raise _Hangup
            return
        try:
            request = replies.parse(body)
            if path == "/v1/embeddings":
                await stream.send_all(_json(200, replies.embeddings(request, model=self.script.model)))
                return
            kind: replies.Kind = "chat" if path == "/v1/chat/completions" else "completion"
            plan = replies.plan(kind, request, model=self.script.model, tokens=self.script.tokens)
        except replies.BadRequest as error:
            await stream.send_all(_json(400, replies.error(400, str(error), "invalid_request_error")))
            return
        except (AttributeError, KeyError, TypeError, ValueError):
            # A field of a wrong type; a real server's message would be no better, and this process must live on.
            await stream.send_all(_json(400, replies.error(400, "malformed request", "invalid_request_error")))
            return
        await (self._send_stream(stream, plan) if plan.stream else self._send_whole(stream, plan))

    def _refusal(self, path: str) -> bytes | None:
        """The whole reply, when the script leaves no room for an answer."""
        script = self.script
        if not self.loaded.is_set():
            return _json(503, replies.error(503, "Loading model", "unavailable_error"))
        if script.garbage == "http":
            return _GARBAGE["http"]
        if script.huge_error:
            return _head(500, "text/html", len(_HUGE)) + _HUGE
        if script.redirect:
            return _head(307, _JSON, 0, "location: http://127.0.0.1:1/v1/chat/completions\r\n")
        if script.status is not None:
            return _json(script.status, replies.error(script.status, "the script says so"))
        if path == "/v1/embeddings" and script.no_embeddings is not None:
            message = "This server does not support embeddings."
            return _json(script.no_embeddings, replies.error(script.no_embeddings, message, "not_supported_error"))
        if path not in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            return _json(404, replies.error(404, "File Not Found", "not_found_error"))
        return None

    async def _send_whole(self, stream: trio.SocketStream, plan: replies.Plan) -> None:
        body = replies.whole(plan)
        reply = _json(200, body)
        for count in range(len(plan.pieces)):
            if await self._fault(stream, count, partial=reply[: -len(body) // 2]):
                raise _Hangup
            if self.script.token_delay:
                await trio.sleep(self.script.token_delay)
        await stream.send_all(reply)

    async def _send_stream(self, stream: trio.SocketStream, plan: replies.Plan) -> None:
        await stream.send_all(_STREAM_HEAD)
        if self.script.only_done:
            await stream.send_all(_chunk(replies.DONE) + b"0\r\n\r\n")
            return
        count = 0
        for event in replies.events(plan):
            if event.token:
                if await self._fault(stream, count, partial=b"ffff\r\ndata: {"):
                    break
                if self.script.token_delay:
                    await trio.sleep(self.script.token_delay)
                count += 1
            data = _GARBAGE["event"] if event.token and self.script.garbage == "event" else event.data
            await stream.send_all(_chunk(data))
        await stream.send_all(b"0\r\n\r\n")

    async def _fault(self, stream: trio.SocketStream, count: int, *, partial: bytes) -> bool:
        """Fail if the script says so after `count` tokens; true when the reply shall end early."""
        script = self.script
        if count == script.crash_after_tokens:
            self._die()
        if count == script.stall_after_tokens:
            await trio.sleep_forever()
        if count == script.cut_after_tokens:
            await stream.send_all(partial)
            if not script.socket:
                # Lingering for zero seconds makes the kernel send a reset in place of an orderly end.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _Hangup
        if count == script.error_event_after:
            await stream.send_all(_chunk(replies.error_event("the script says so")))
            return True
        return count == script.truncate_after_tokens


async def run(script: Script) -> int:
    """The whole process: serve until a signal or the script ends it. Returns the exit code."""
    if script.grandchild:
        _spawn_grandchild()
    if script.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = ScriptedEngine(script)
    code = 0
    async with trio.open_nursery() as nursery:
        if not script.ignore_term:
            await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        port = await nursery.start(engine.serve)
        print(f"listening on {script.socket or f'{script.host}:{port}'}", flush=True)
        if script.log_flood:
            nursery.start_soon(_flood)
        await engine.loaded.wait()
        print("model loaded", flush=True)
        if script.exit_after_ready is not None:
            await trio.sleep(0.5)
            code = script.exit_after_ready
            nursery.cancel_scope.cancel()
    if script.socket:
        await trio.Path(script.socket).unlink(missing_ok=True)
    return code


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _flood() -> None:
    block = "".join(f"slot {slot} | task {slot} | nothing to see in this line of the log\n" for slot in range(200))
    while True:
        sys.stdout.write(block)
        await trio.sleep(0.001)


def _spawn_grandchild() -> None:
    # A signal that is ignored stays ignored across exec, so what sleeps is one plain process.
    subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; exec sleep 3600"], start_new_session=True)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, content_type: str, length: int, more: str = "") -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Scripted"
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n{more}\r\n"
    return head.encode("latin-1")


def _json(status: int, body: bytes) -> bytes:
    return _head(status, _JSON, len(body)) + body
