import json
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, connect_websocket_url

from appliance.scripted.engine import ScriptedEngine
from appliance.scripted.realtime import is_websocket
from appliance.scripted.script import Script


async def said(script: Script, *messages: Any, last: str) -> list[dict[str, Any]]:
    """What a session says to these events, up to its last word."""
    found: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(ScriptedEngine(script).serve)
        connection = await connect_websocket_url(nursery, f"ws://127.0.0.1:{port}/v1/realtime?model=m")
        try:
            for message in messages:
                await connection.send_message(json.dumps(message))
            with trio.fail_after(10):
                while not found or found[-1]["type"] != last:
                    found.append(json.loads(await connection.get_message()))
        finally:
            await trio.aclose_forcefully(connection._stream)
        nursery.cancel_scope.cancel()
    return found


async def test_a_response_in_pieces_with_its_count() -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello there"}]}
    events = [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]
    found = await said(Script(realtime=True, tokens=3), *events, last="response.done")
    assert found[0]["session"]["model"] == "m"
    assert [event["type"] for event in found[-5:-1]] == ["response.output_text.delta"] * 3 + [
        "response.output_text.done"
    ]
    assert found[-1]["response"]["usage"] == {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}


async def test_sound_is_counted_and_nonsense_is_an_error_event() -> None:
    append = {"type": "input_audio_buffer.append", "audio": "AAAA"}
    events = [append, append, {"type": "input_audio_buffer.commit"}, {"type": "nonsense", "event_id": "e1"}]
    found = await said(Script(realtime=True), *events, last="error")
    assert found[-2]["item_id"] == "item_8"
    assert found[-1]["error"]["event_id"] == "e1"


async def test_it_closes_with_the_code_of_the_script() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionClosed, match="4000"), flatten_subgroups=True):
        await said(Script(realtime=True, close_with=4000), {"type": "session.update"}, last="never")


async def test_without_the_flag_there_is_no_such_route() -> None:
    handshake = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(ScriptedEngine(Script()).serve)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(handshake)
            with trio.fail_after(10):
                assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 404")
        nursery.cancel_scope.cancel()


def test_a_websocket_is_told_by_its_head() -> None:
    assert is_websocket(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n")
    assert not is_websocket(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\r\nupgrade: websocket\r\n\r\n")
