"""How the scripted engine says it: the listener, the connections, and the ways to answer badly."""

import json
import os
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import httptools
import trio

from appliance.scripted import counters, realtime, replies, responses, tasks
from appliance.scripted.requests import Parser, Request
from appliance.scripted.script import Script

_JSON = "application/json"
_READ = 65536
_ASLEEP = 0.05  # of the memory stays claimed: a sleeping vLLM keeps its CUDA context
_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_HUGE = b"<html><body><h1>Internal Server Error</h1>" + b"<p>x</p>" * 131072 + b"</body></html>"
_GARBAGE = {"http": b"\x00\x01 this is not HTTP \xff\xfe\r\n\r\n", "event": b"data: {not json\n\n"}
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_SOUND_HEAD = _STREAM_HEAD.replace(b"text/event-stream", tasks.SOUND.encode())
_HEARING = ("/v1/audio/transcriptions", "/v1/audio/translations")
_ROUTES = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/audio/speech"),
    *_HEARING,
)


@dataclass(slots=True)
class State:
    """What `GET /_state` reports; the test tool's window into the process."""

    running: int = 0
    most: int = 0
    cancelled: int = 0
    served: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    dead: bool = False
    asleep: int = 0
    reloaded: int = 0
    last_request: dict[str, Any] = field(default_factory=dict)


class _Hangup(Exception):  # noqa: N818 - it is an order, not an error
    """Close this connection now; the script wants it so."""


class ScriptedEngine:
    """The server. It ends when it is cancelled; loading, signals and exit codes are `process`'s business.

    Args:
        script: what to do.
        die: ends the process at once.
        memory: told what part of its GPU memory it holds from now on, 0 to 1.
        loading: returns when it is loaded; else a pause of the script's length.
    """

    def __init__(
        self,
        script: Script,
        *,
        die: Callable[[], None] | None = None,
        memory: Callable[[float], None] = lambda _: None,
        loading: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.script = script
        self.state = State()
        self.loaded = trio.Event()
        self._die = die or _kill_self
        self._memory = memory
        self._loading = loading or partial(trio.sleep, script.load_seconds)
        self._awake = trio.Event()
        self._awake.set()
        vllm = script.style == "vllm"
        thoughts = ("reasoning" if vllm else "reasoning_content") if script.thinks else ""
        self._manner = replies.Manner(
            script.model, script.tokens, thoughts, script.calls, vllm, script.says, script.unsafe_about
        )

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and answer until cancelled; reports the port (0 for a unix socket).

        Raises:
            OSError: the address is taken or not allowed.
        """
        if self.script.style == "vllm":  # connections are refused until it can serve
            await self._load()
        listeners = await self._listen()
        port: int = 0 if self.script.socket else listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._connection, listeners)
            task_status.started(port)
            await self._load()

    async def _load(self) -> None:
        if not self.loaded.is_set():
            await self._loading()
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
        send, receive = trio.open_memory_channel[Request](64)
        async with stream:
            try:
                first = await realtime.first_bytes(stream)
                if realtime.is_websocket(first):
                    await self._session(stream, first)
                    return
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, stream, first, send, nursery.cancel_scope)
                    async for request in receive:
                        await self._answer(stream, request)
                        if not request.keep_alive:
                            break
                    nursery.cancel_scope.cancel()
            except* (_Hangup, trio.BrokenResourceError, trio.ClosedResourceError, httptools.HttpParserError):
                pass

    async def _session(self, stream: trio.SocketStream, first: bytes) -> None:
        def seen(handshake: dict[str, Any]) -> None:
            self.state.last_request = handshake

        self.state.running += 1
        try:
            await realtime.serve(self.script, stream, first, self._die, seen)
        finally:
            self.state.running -= 1
            self.state.served += 1

    async def _read(
        self, stream: trio.SocketStream, data: bytes, send: trio.MemorySendChannel[Request], scope: trio.CancelScope
    ) -> None:
        """Read while the answer is being made: the end of the input is how a client says that it left."""
        parser = Parser()
        while data:
            complete = parser.feed(data)
            if parser.expects_continue and not complete:
                parser.expects_continue = False
                await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            for request in complete:
                await send.send(request)
            data = bytes(await stream.receive_some(_READ))
        scope.cancel()

    async def _answer(self, stream: trio.SocketStream, request: Request) -> None:
        path = request.path.partition("?")[0]
        if request.method == "GET":
            if path == "/health" and self.script.health_hangs and self.state.running:
                await trio.sleep_forever()
            status, body = self._get(path)
            await stream.send_all(_head(status, _JSON, len(body)) + body)
            return
        if self.script.sleeps and path in ("/sleep", "/wake_up", "/collective_rpc"):
            await stream.send_all(self._turn(path, request))
            return
        self.state.last_request = {
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
        }
        self.state.running += 1
        self.state.most = max(self.state.most, self.state.running)
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
            return (503, b"") if self.state.dead else (200, b'{"status":"ok"}')
        if self.script.wrong_key:
            return 401, replies.error(401, "Invalid API Key", "authentication_error")
        if path == "/metrics":
            return 200, self._counters()
        if path == "/is_sleeping" and self.script.sleeps:
            return 200, json.dumps({"is_sleeping": self.state.asleep > 0}).encode()
        if path == "/v1/models":
            return 200, replies.models(self.script.model)
        return 404, replies.error(404, "File Not Found", "not_found_error")

    def _counters(self) -> bytes:
        state = self.state
        return counters.exposition(
            self.script.style,
            self.script.model,
            running=state.running,
            waiting=self.script.waiting,
            prompt=state.prompt_tokens,
            generated=state.generated_tokens,
            ended=(state.served, state.cancelled),
            put_back=state.asked if self.script.preempts else 0,
        )

    def _turn(self, path: str, request: Request) -> bytes:
        """Go to sleep, wake up, or load the weights again; vLLM asks for no key here."""
        if path == "/collective_rpc":
            self.state.reloaded += 1
            return _json(200, b'{"results":[null]}')
        if path == "/wake_up":
            if self.script.wake_fails:
                return _json(500, replies.error(500, "the script says so"))
            self.state.asleep = 0
            self._memory(1.0)
            self._awake.set()
            return _json(200, b'{"status":"awake","tags":null}')
        level = int(parse_qs(request.path.partition("?")[2]).get("level", ["1"])[0])
        self.state.asleep = level
        self._awake = trio.Event()
        if not self.script.sleep_keeps_memory:
            self._memory(_ASLEEP)
        return _json(200, json.dumps({"status": "sleeping", "level": level}).encode())

    async def _post(self, stream: trio.SocketStream, path: str, body: bytes) -> None:
        self.state.asked += 1
        if self.script.poison and self.script.poison.encode() in body:
            self._die()
        if self.script.hang_after is not None and self.state.asked > self.script.hang_after:
            await trio.sleep_forever()
        await self._awake.wait()  # vLLM answers nothing while it sleeps, and /health goes on saying 200
        await trio.sleep(self.script.first_byte_delay)
        refusal = self._refusal(path)
        if refusal is not None:
            await stream.send_all(refusal)
            if self.script.garbage == "http":
                raise _Hangup
            return
        try:
            await self._do(stream, path, body)
        except replies.BadRequest as error:
            await stream.send_all(_json(400, replies.error(400, str(error), "invalid_request_error")))
            return
        except (AttributeError, KeyError, TypeError, ValueError):
            # A field of a wrong type; a real server's message would be no better, and this process must live on.
            await stream.send_all(_json(400, replies.error(400, "malformed request", "invalid_request_error")))

    async def _do(self, stream: trio.SocketStream, path: str, body: bytes) -> None:
        """Answer as well as possible; a bad request raises before anything is sent."""
        if path in _HEARING:
            kind, said = tasks.transcript(body, self.script.model)
            await stream.send_all(_head(200, kind, len(said)) + said)
            return
        request = replies.parse(body)
        if path == "/v1/audio/speech":
            await self._send_events(stream, tasks.sound(request), _SOUND_HEAD, b"ffff\r\n")
            return
        done = tasks.of_json(path, request, self.script.model)
        if path == "/v1/embeddings":
            await stream.send_all(_json(200, replies.embeddings(request, model=self.script.model)))
        elif done is not None:
            await stream.send_all(_json(200, json.dumps(done).encode()))
        elif path == "/v1/responses":
            plan = replies.plan("chat", responses.as_chat(request), self._manner)
            await self._answer_plan(stream, plan, responses.whole(plan), responses.events(plan))
        else:
            plan = replies.plan("chat" if path == "/v1/chat/completions" else "completion", request, self._manner)
            await self._answer_plan(stream, plan, replies.whole(plan), replies.events(plan))

    async def _answer_plan(
        self, stream: trio.SocketStream, plan: replies.Plan, whole: bytes, events: Iterator[replies.Event]
    ) -> None:
        self.state.prompt_tokens += plan.prompt_tokens
        if plan.stream:
            await self._send_events(stream, events, _STREAM_HEAD, b"ffff\r\ndata: {")
        else:
            await self._send_whole(stream, plan, whole)

    def _refusal(self, path: str) -> bytes | None:
        """The whole reply, when the script leaves no room for an answer."""
        script = self.script
        if not self.loaded.is_set():
            return _json(503, replies.error(503, "Loading model", "unavailable_error"))
        if self.state.dead:
            return _json(500, replies.error(500, _DEAD, "InternalServerError"))
        if script.wrong_key:
            return _json(401, replies.error(401, "Invalid API Key", "authentication_error"))
        if script.garbage == "http":
            return _GARBAGE["http"]
        if script.huge_error:
            return _head(500, "text/html", len(_HUGE)) + _HUGE
        if script.redirect:
            return _head(307, _JSON, 0, "location: http://127.0.0.1:1/v1/chat/completions\r\n")
        status = 500 if self.state.asked <= script.failures else script.status
        if status is not None:
            return _json(status, replies.error(status, "the script says so"))
        if path == "/v1/embeddings" and script.no_embeddings is not None:
            message = "This server does not support embeddings."
            return _json(script.no_embeddings, replies.error(script.no_embeddings, message, "not_supported_error"))
        if path in script.lacks.split(",") or not (path in _ROUTES or tasks.knows(path)):
            return _json(404, replies.error(404, "File Not Found", "not_found_error"))
        return None

    async def _send_whole(self, stream: trio.SocketStream, plan: replies.Plan, body: bytes) -> None:
        reply = _json(200, body)
        for count in range(plan.tokens):
            if await self._fault(stream, count, partial=reply[: -len(body) // 2]):
                raise _Hangup
            if self.script.token_delay:
                await trio.sleep(self.script.token_delay)
            self.state.generated_tokens += 1
        await stream.send_all(reply)

    async def _send_events(
        self, stream: trio.SocketStream, events: Iterator[replies.Event], head: bytes, partial: bytes
    ) -> None:
        await stream.send_all(head)
        if self.script.only_done:
            await stream.send_all(_chunk(replies.DONE) + b"0\r\n\r\n")
            return
        count = 0
        for event in events:
            if event.token:
                if await self._fault(stream, count, partial=partial):
                    break
                if self.script.token_delay:
                    await trio.sleep(self.script.token_delay)
                count += 1
                self.state.generated_tokens += 1
            data = _GARBAGE["event"] if event.token and self.script.garbage == "event" else event.data
            await stream.send_all(_chunk(data))
        await stream.send_all(b"0\r\n\r\n")

    async def _fault(self, stream: trio.SocketStream, count: int, *, partial: bytes) -> bool:
        """Fail if the script says so after `count` tokens; true when the reply shall end early."""
        script = self.script
        if self.state.dead:
            await stream.send_all(_chunk(replies.error_event(_DEAD)) + _chunk(replies.DONE))
            return True
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
