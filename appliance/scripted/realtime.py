"""How the scripted engine speaks over a websocket: sessions in text, after OpenAI's Realtime API."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from appliance.scripted import replies
from appliance.scripted.script import Script

_LARGEST = 64 * 2**20
_PROTOCOL = "realtime"
_HEAD = 65536


class Replayed(trio.abc.Stream):
    """A stream of which something was read already."""

    def __init__(self, stream: trio.SocketStream, read: bytes) -> None:
        self._stream = stream
        self._read = read

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What was read already comes first."""
        if self._read:
            read, self._read = self._read, b""
            return read
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio."""
        await self._stream.aclose()


async def first_bytes(stream: trio.SocketStream) -> bytes:
    """What comes first: enough to tell whether it is a websocket."""
    read = b""
    while b"\r\n\r\n" not in read and len(read) < _HEAD and (data := await stream.receive_some(_HEAD)):
        read += data
    return read


def is_websocket(head: bytes) -> bool:
    """Whether a request asks for one."""
    return b"\r\nupgrade: websocket" in head.partition(b"\r\n\r\n")[0].lower()


async def serve(
    script: Script, stream: trio.SocketStream, read: bytes, die: Callable[[], None], seen: Callable[[Any], None]
) -> None:
    """One session, from its handshake on.

    Args:
        script: what to do.
        stream: the connection.
        read: what was read of it.
        die: ends the process.
        seen: takes what the handshake said.
    """
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, Replayed(stream, read), max_message_size=_LARGEST)
        seen({"path": request.path, "headers": [(name.decode(), value.decode()) for name, value in request.headers]})
        refused = script.status or (None if script.realtime else 404)
        if refused is not None:
            body = replies.error(refused, "the script says so")
            await request.reject(refused, extra_headers=[(b"content-type", b"application/json")], body=body)
        else:
            await _Session(script, die).run(await _accepted(request), request.path)
        nursery.cancel_scope.cancel()


async def _accepted(request: WebSocketRequest) -> WebSocketConnection:
    offered = request.proposed_subprotocols
    return await request.accept(subprotocol=_PROTOCOL if _PROTOCOL in offered else None)


class _Session:
    """What is remembered of one."""

    def __init__(self, script: Script, die: Callable[[], None]) -> None:
        self._script = script
        self._die = die
        self._said: list[str] = []
        self._sound = 0  # characters of base64 since the last commit

    async def run(self, connection: WebSocketConnection, path: str) -> None:
        async def send(kind: str, **members: Any) -> None:
            await connection.send_message(json.dumps({"type": kind, "event_id": f"event_{kind}", **members}))

        model = parse_qs(urlsplit(path).query).get("model", [""])[0]
        try:
            await send("session.created", session={"id": "sess_1", "object": "realtime.session", "model": model})
            while True:
                message = await connection.get_message()
                if isinstance(message, bytes):
                    await connection.send_message(message)  # an echo
                    continue
                await self._answer(json.loads(message), send)
                if self._script.close_with is not None:
                    await connection.aclose(self._script.close_with, "the script says so")
        except ConnectionClosed:
            pass

    async def _answer(self, event: dict[str, Any], send: Callable[..., Awaitable[None]]) -> None:
        match event.get("type"):
            case "session.update":
                await send("session.updated", session=event.get("session", {}), model=event.get("model"))
            case "conversation.item.create":
                self._said += [part.get("text", "") for part in event["item"]["content"]]
                await send("conversation.item.created", item=event["item"], previous_item_id=None)
            case "input_audio_buffer.append":
                self._sound += len(event["audio"])
            case "input_audio_buffer.commit":
                await send("input_audio_buffer.committed", item_id=f"item_{self._sound}", previous_item_id=None)
                self._sound = 0
            case "response.create":
                await self._respond(send)
            case kind:
                error = {"type": "invalid_request_error", "code": "invalid_value", "message": f"unknown event {kind}"}
                await send("error", error=error | {"param": None, "event_id": event.get("event_id")})

    async def _respond(self, send: Callable[..., Awaitable[None]]) -> None:
        prompt = " ".join(self._said)
        pieces = replies.words(hashlib.sha256(prompt.encode()).digest(), self._script.tokens)
        place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
        response: dict[str, Any] = {"id": "resp_1", "object": "realtime.response", "status": "in_progress"}
        await send("response.created", response=response)
        for count, piece in enumerate(pieces):
            if count == self._script.crash_after_tokens:
                self._die()
            await trio.sleep(self._script.token_delay)
            await send("response.output_text.delta", delta=piece, **place)
        await send("response.output_text.done", text="".join(pieces), **place)
        words = len(prompt.split())
        usage = {"input_tokens": words, "output_tokens": len(pieces), "total_tokens": words + len(pieces)}
        await send("response.done", response=response | {"status": "completed", "usage": usage})
