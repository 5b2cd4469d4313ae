import json
from typing import Any

import pytest
import trio
import trio.testing

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.guarded_reply import GuardedReply, Judge
from appliance.gateway.guarded_stream import GuardedStream
from appliance.gateway.guarding import refusal
from appliance.gateway.relay import Relay
from appliance.gateway.translated import TranslatingRelay
from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Block, Finding
from appliance.sse import cut
from tests.fakes.accounts import exchange
from tests.fakes.messages import events_of, message_of
from tests.fakes.upstream_reply import ScriptedReply
from tests.gateway.test_guarded_stream import DONE, SECRET, TOOL, call, chunk, heard, scanner, streamed

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
FOUND = Finding("model", "block", "S1", "found")


def guarded(
    upstream: ScriptedReply, look: Scanner | None, account: Exchange, judge: Judge | None = None, **how: Any
) -> GuardedReply:
    stream = GuardedStream(look, listen=judge is not None)
    return GuardedReply(upstream, stream, account, refusal=refusal, judge=judge, **how)


async def relayed(
    *pieces: bytes | Exception, look: Scanner | None, pump: bool = True, **how: Any
) -> tuple[bytes, Relay, Exchange]:
    """What a client gets, the relay, and the account."""
    account = exchange()
    upstream = ScriptedReply(*pieces)
    relay = Relay(guarded(upstream, look, account, **how), account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    out = list[bytes]()

    def offer(piece: bytes) -> bool:
        out.append(piece)
        return True

    async for part in relay:
        out.append(part)
        if pump:
            await relay.pump(offer)
    await relay.aclose()
    assert upstream.closed
    return b"".join(out), relay, account


@pytest.mark.parametrize("pump", [True, False])
async def test_a_guarded_stream_on_every_cut_of_its_text_and_of_its_bytes(pump: bool) -> None:
    look = scanner("redact", "pii")
    whole, *_ = await relayed(*streamed([SECRET]), look=look)
    assert "[EMAIL]" in heard(whole)
    for at in range(1, len(SECRET)):
        out, relay, account = await relayed(*streamed([SECRET[:at], SECRET[at:]]), look=look, pump=pump)
        assert heard(out) == heard(whole)
        assert (relay.broken, account.settled, out.endswith(DONE)) == (False, True, True)
    events = b"".join([*streamed([SECRET[:20], SECRET[20:50], SECRET[50:]])[:-1], USAGE, DONE])
    for at in range(1, len(events), 7):
        out, _, account = await relayed(events[:at], events[at:], look=look, pump=pump)
        assert heard(out) == heard(whole)
        assert (b'"usage"' in out, account.usage) == (False, Usage(9, 4))


@pytest.mark.parametrize("pump", [True, False])
@pytest.mark.parametrize("kind", ["pii", "regex", "keywords"])
async def test_a_block_ends_a_stream_that_has_begun_with_the_typed_error(kind: str, pump: bool) -> None:
    look = scanner("block", kind)
    for at in range(1, len(SECRET)):
        out, relay, account = await relayed(*streamed([SECRET[:at], SECRET[at:]]), look=look, pump=pump)
        *_, last = out.removesuffix(b"\n\n").split(b"\n\n")
        error = json.loads(last.removeprefix(b"data: "))["error"]
        assert (error["type"], error["guardrail_key"], error["action"]) == ("guardrail_block", kind, "block")
        assert error["findings"]
        assert SECRET.startswith(heard(out.removesuffix(last + b"\n\n")))
        assert b"[DONE]" not in out
        assert (relay.broken, relay.ended, account.settled) == (True, True, True)


async def test_a_block_before_the_first_byte_is_an_answer_of_its_own() -> None:
    account = exchange()
    reply = guarded(ScriptedReply(chunk({"content": "bob@example.com "})), scanner("block", "pii"), account)
    relay = Relay(reply, account, hide_usage=True, on_close=lambda _: None)
    with pytest.raises(GatewayError) as caught:
        await relay.prime()
    assert (caught.value.code, caught.value.row.status) == ("guardrail_block", 400)
    await relay.aclose()


async def test_messages_clients_read_the_guarded_text_and_its_error() -> None:
    pieces = ["mail bob@", "example.com", " now"]
    account = exchange()
    reply = guarded(ScriptedReply(*streamed(pieces)), scanner("redact", "pii"), account)
    relay = TranslatingRelay(reply, account, on_close=lambda _: None)
    await relay.prime()
    message = message_of(b"".join([part async for part in relay]))
    assert "".join(block["text"] for block in message["content"]) == "mail [EMAIL] now"

    account = exchange()
    reply = guarded(ScriptedReply(*streamed(pieces)), scanner("block", "pii"), account)
    relay = TranslatingRelay(reply, account, on_close=lambda _: None)
    await relay.prime()
    last = events_of(b"".join([part async for part in relay]))[-1]
    assert last["type"] == "error"
    assert (last["error"]["type"], last["error"]["guardrail_key"]) == ("invalid_request_error", "pii")


async def test_tools_are_called_by_messages_clients_with_redacted_json() -> None:
    for at in range(1, len(TOOL)):
        account = exchange()
        pieces = [
            chunk({"reasoning": "I ask ann@example.org"}),
            chunk({"content": "One moment"}),
            chunk(call("", 0, id="call_1", type="function", name="send")),
            chunk(call(TOOL[:at], 0)),
            chunk(call(TOOL[at:], 0)),
            chunk({}, "tool_calls"),
            DONE,
        ]
        relay = TranslatingRelay(
            guarded(ScriptedReply(*pieces), scanner("redact", "pii"), account), account, on_close=lambda _: None
        )
        await relay.prime()
        message = message_of(b"".join([part async for part in relay]))
        thinking, text, tool = message["content"]
        assert (thinking["thinking"], text["text"], tool["name"]) == ("I ask [EMAIL]", "One moment", "send")
        assert json.loads(tool["partial"]) == {"to": "[EMAIL]", "note": "café\n[EMAIL]", "card": "[CARD]"}
        assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("end", [b"", b'data: {"choices":[{"ind'])
async def test_an_engine_that_breaks_off_is_not_made_whole(end: bytes) -> None:
    out, relay, _ = await relayed(
        *streamed(["some words", " and "])[:-2], *filter(None, [end]), look=scanner("redact", "pii")
    )
    assert b"stream_truncated" in out
    assert relay.broken


async def test_an_engine_that_finishes_and_leaves_half_an_event_has_broken_off() -> None:
    out, relay, _ = await relayed(*streamed(["words "])[:-1], b"data: {", look=scanner("redact", "pii"))
    assert b"stream_truncated" in out
    assert relay.broken


async def test_a_connection_that_breaks_is_told_as_ever() -> None:
    lost = ConnectionLost("reset", before_reply=False)
    out, relay, account = await relayed(*streamed(["a ", "b ", "c "])[:-2], lost, look=scanner("redact", "pii"))
    assert b"backend_died" in out
    assert relay.broken
    assert account.usage == Usage(output=3, estimated=True)  # also the one that was held


async def test_tokens_that_were_joined_count_each_where_an_engine_never_tells() -> None:
    tokens = b"".join(streamed([f"word{number} " for number in range(50)]))
    _, _, account = await relayed(tokens[:2000], tokens[2000:], look=scanner("redact", "pii"))
    assert account.usage == Usage(output=50, estimated=True)


class Guard:
    """A guard model that says what it is told to."""

    def __init__(self, *answers: Block | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, text: str) -> Block | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(text)
        return self.answers.pop(0) if self.answers else None


async def test_a_guard_model_sees_the_answer_window_by_window_and_nothing_leaves_before() -> None:
    guard = Guard()
    words = [f"word{number:02} " for number in range(20)]  # 7 characters each
    out, relay, _ = await relayed(*streamed(words), look=None, judge=guard, window=70, holds=True)
    assert (heard(out), relay.broken) == ("".join(words), False)
    assert [len(text) for text in guard.asked] == [70, 140]
    left: list[int] = []
    account = exchange()
    reply = guarded(ScriptedReply(*streamed(words)), None, account, guard, window=70, holds=True)
    while part := await reply.receive():
        left.append(len(heard(part)))
    assert left == [0, 70, 70, 0, 0]  # the role, two windows, the finish, the closing mark


async def test_what_a_guard_model_finds_unsafe_never_leaves() -> None:
    guard = Guard(None, Block("model", (FOUND,)))
    words = [f"word{number:02} " for number in range(20)]
    out, relay, _ = await relayed(*streamed(words), look=None, judge=guard, window=70, holds=True)
    *_, last = out.removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"]["guardrail_key"] == "model"
    assert heard(out.removesuffix(last + b"\n\n")) == "".join(words[:10])
    assert relay.broken


async def test_a_guard_model_on_every_cut_of_the_text() -> None:
    async def dreads(text: str) -> Block | None:
        return Block("model", (FOUND,)) if "bomb" in text else None

    text = "A long and harmless text about a bomb, and more of it."
    for at in range(1, len(text)):
        for pieces in ([text[:at], text[at:]], [*text[:at], text[at:]]):
            out, relay, _ = await relayed(*streamed(pieces), look=None, judge=dreads, window=12, holds=True)
            said = heard(b"".join(one for one in cut(out) if b'"error"' not in one))
            assert text.startswith(said)
            assert "bomb" not in said
            assert relay.broken
            assert b'"guardrail_key":"model"' in out


async def test_a_guard_model_that_only_flags_holds_nothing_and_is_asked_at_the_end() -> None:
    guard = Guard()
    out, _, _ = await relayed(*streamed(["some ", "words"]), look=None, judge=guard, window=1)
    assert out == b"".join(streamed(["some ", "words"]))
    assert guard.asked == ["some words"]


async def test_a_pattern_that_blocks_first_leaves_what_was_not_judged_where_it_is() -> None:
    guard = Guard()
    out, _, _ = await relayed(
        *streamed(["some ", "words bob@example.com "]), look=scanner("block", "pii"), judge=guard, window=99, holds=True
    )
    assert b'"guardrail_key":"pii"' in out
    assert b"words" not in out


async def test_a_guard_model_that_cannot_be_asked_is_the_error_of_the_stream() -> None:
    async def nobody(text: str) -> Block | None:
        raise GatewayError("guardrail_unavailable", "no answer")

    out, relay, _ = await relayed(*streamed(["some ", "words"]), look=None, judge=nobody, window=2, holds=True)
    assert b"guardrail_unavailable" in out
    assert b"words" not in out
    assert relay.broken


async def test_a_server_that_goes_away_does_not_wait_for_a_guard_model() -> None:
    async def never(text: str) -> Block | None:
        await trio.sleep_forever()
        raise AssertionError

    account = exchange()
    reply = guarded(ScriptedReply(*streamed(["some ", "words"])), None, account, never, window=2, holds=True)
    relay = Relay(reply, account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    out = [await anext(relay)]

    async def listen() -> None:
        out.extend([part async for part in relay])

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            relay.interrupt(GatewayError("draining", "going away"))
    assert b"draining" in out[-1]
    assert b"words" not in b"".join(out)
    await relay.aclose()


async def test_what_was_found_is_settled_once_whatever_happens() -> None:
    told: list[float] = []
    for pieces in (streamed(["a "]), streamed(["bob@example.com "]), [chunk({"content": "a "})]):
        account = exchange()
        reply = guarded(ScriptedReply(*pieces), scanner("block", "pii"), account, settle=told.append)
        await reply.receive()
        await reply.aclose()
        await reply.aclose()
    assert len(told) == 3


async def test_whole_bodies_pass_as_they_are() -> None:
    reply = guarded(ScriptedReply(b"bob@example.com"), scanner("block", "pii"), exchange())
    assert await reply.read(100) == b"bob@example.com"
    assert reply.ended
