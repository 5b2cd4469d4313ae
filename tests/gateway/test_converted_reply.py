import pytest

from appliance.errors import ConnectionLost, ProtocolViolation
from appliance.gateway.converted_reply import ConvertedReply
from tests.fakes.upstream_reply import ScriptedReply


class Upper:
    """Says everything louder, and nothing for silence."""

    def event(self, data: bytes) -> bytes:
        if data == b"bad":
            raise ProtocolViolation("bad")
        return b"" if data == b"silence" else b"data: " + data.upper() + b"\n\n"


def converted(*pieces: bytes | Exception) -> tuple[ConvertedReply, ScriptedReply]:
    upstream = ScriptedReply(*pieces)
    return ConvertedReply(upstream, Upper(), lambda body: body[::-1]), upstream


async def everything(reply: ConvertedReply) -> bytes:
    out = b""
    while data := await reply.receive():
        out += data
    return out


async def test_events_come_in_other_words_however_they_are_cut() -> None:
    raw = b"event: x\ndata: one\n\ndata: silence\n\ndata: two\n\n"
    for size in (1, 7, 100):
        reply, _ = converted(*(raw[at : at + size] for at in range(0, len(raw), size)))
        assert await everything(reply) == b"data: ONE\n\ndata: TWO\n\n"
        assert reply.ended


async def test_an_event_that_has_no_end_is_not_one() -> None:
    reply, _ = converted(b"data: one\n\ndata: tw")
    assert await everything(reply) == b"data: ONE\n\n"


async def test_pumping_leaves_out_what_says_nothing_and_stops_when_told() -> None:
    reply, upstream = converted(b"data: silence\n\n", b"data: a\n\n", b"data: b\n\n", b"data: c\n\n")
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return len(taken) < 2

    await reply.pump(take)
    assert taken == [b"data: A\n\n", b"data: B\n\n"]
    assert await upstream.receive() == b"data: c\n\n"


async def test_a_whole_body_is_turned_at_once() -> None:
    reply, _ = converted(b"ab", b"cd")
    assert (reply.status, reply.headers) == (200, [("content-type", "text/event-stream")])
    assert await reply.read(100) == b"dcba"


async def test_what_goes_wrong_underneath_is_told_as_it_is() -> None:
    reply, _ = converted(b"data: bad\n\n")
    with pytest.raises(ProtocolViolation):
        await reply.receive()
    reply, _ = converted(ConnectionLost("lost", before_reply=False))
    with pytest.raises(ConnectionLost):
        await reply.receive()


async def test_closing_and_interrupting_reach_the_provider() -> None:
    reply, upstream = converted()
    reply.interrupt()
    with pytest.raises(ConnectionLost):
        await upstream.silence()
    await reply.aclose()
    assert upstream.closed
