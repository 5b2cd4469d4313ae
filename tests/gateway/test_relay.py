import json
from itertools import accumulate, cycle, pairwise
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.relay import Relay
from tests.fakes.accounts import exchange
from tests.fakes.upstream_reply import ScriptedReply

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HI = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
DONE = b"data: [DONE]\n\n"


async def run(*pieces: bytes | Exception, hide_usage: bool = True) -> tuple[bytes, Relay, Exchange, ScriptedReply]:
    """Everything that a relay says, which is the same for every way of listening."""
    said = []
    for takes in (None, [True], [False], [True, False], [False, True, True]):
        account, upstream = exchange(), ScriptedReply(*pieces)
        relay = Relay(upstream, account, hide_usage=hide_usage, on_close=lambda _: None)
        await relay.prime()
        out = await heard(relay, takes)
        await relay.aclose()
        said.append((out, relay.broken, relay.ended, account.usage, account.settled, account.bytes_out, account.phase))
        assert said[-1] == said[0]
    return out, relay, account, upstream


async def heard(relay: Relay, takes: list[bool] | None) -> bytes:
    """All bytes: by iterating alone, or as the door does it, with what its offers are answered in turn."""
    if takes is None:
        return b"".join([part async for part in relay])
    answers, out = cycle(takes), list[bytes]()

    def offer(piece: bytes) -> bool:
        assert piece
        out.append(piece)
        return next(answers)

    async for part in relay:
        out.append(part)
        await relay.pump(offer)
    return b"".join(out)


async def test_a_good_stream_passes_byte_for_byte() -> None:
    out, relay, account, upstream = await run(ROLE, HI + STOP, DONE)
    assert out == ROLE + HI + STOP + DONE
    assert (relay.broken, account.settled, upstream.closed) == (False, True, True)
    assert account.finish == "stop"


async def test_every_split_gives_the_same_bytes() -> None:
    whole = ROLE + HI + STOP + USAGE + DONE
    for at in range(1, len(whole)):
        out, *_ = await run(whole[:at], whole[at:], hide_usage=False)
        assert out == whole


async def test_usage_is_counted_and_hidden_from_a_client_that_did_not_ask() -> None:
    out, _, account, _ = await run(ROLE, HI, STOP, USAGE, DONE)
    assert out == ROLE + HI + STOP + DONE
    assert account.usage == Usage(9, 4)


async def test_usage_is_shown_to_a_client_that_asked() -> None:
    out, *_ = await run(ROLE, HI, STOP, USAGE, DONE, hide_usage=False)
    assert USAGE in out


async def test_comments_of_the_engine_are_dropped() -> None:
    out, *_ = await run(b": ping\n\n", ROLE, b":\n\n", HI, STOP, DONE)
    assert out == ROLE + HI + STOP + DONE


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((ROLE, HI), "stream_truncated"),
        ((ROLE, HI, b'data: {"cho'), "stream_truncated"),
        ((ROLE, HI, ConnectionLost("reset", before_reply=False)), "backend_died"),
        ((ROLE, HI, b"data: not json\n\n"), "upstream_protocol"),
    ],
)
async def test_an_early_end_is_a_typed_error_and_never_done(pieces: tuple[bytes | Exception, ...], code: str) -> None:
    out, relay, account, _ = await run(*pieces)
    error = json.loads(out.removeprefix(ROLE + HI).removeprefix(b"data: "))["error"]
    assert error["code"] == code
    assert b"[DONE]" not in out
    assert relay.broken
    assert account.usage == Usage(output=1, estimated=True)


@pytest.mark.parametrize("pieces", [(DONE,), (), (b": ping\n\n",)])
async def test_nothing_at_all_is_an_error_with_a_real_status(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(GatewayError) as caught:
        await run(*pieces)
    assert caught.value.code == "empty_response"


async def test_an_engines_error_event_is_passed_on_and_its_done_is_not() -> None:
    error = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
    out, relay, _, _ = await run(ROLE, HI, error, DONE)
    assert out == ROLE + HI + error
    assert relay.broken


async def test_an_end_in_the_middle_of_an_event_is_no_good_end() -> None:
    out, relay, _, _ = await run(ROLE, HI, STOP, b'data: {"choi')
    assert relay.broken
    assert b"[DONE]" not in out


async def test_with_several_choices_each_needs_its_finish_reason() -> None:
    other = HI.replace(b'"index":0', b'"index":1')
    out, relay, _, _ = await run(ROLE, HI, other, STOP)
    assert relay.broken
    assert b"[DONE]" not in out
    out, relay, _, _ = await run(ROLE, HI, other, STOP, STOP.replace(b'"index":0', b'"index":1'))
    assert out.endswith(DONE)


async def test_a_flood_of_tokens_passes_and_counts_like_one_by_one() -> None:
    out, _, account, _ = await run(ROLE + HI * 30, HI * 29 + HI.replace(b"Hi", b""), HI * 30 + STOP, DONE)
    assert out == ROLE + HI * 59 + HI.replace(b"Hi", b"") + HI * 30 + STOP + DONE
    assert account.usage == Usage(output=89, estimated=True)


async def test_a_choice_that_goes_on_after_its_finish_reason_is_open_again() -> None:
    out, relay, _, _ = await run(HI * 30, HI * 30, STOP, HI * 30)
    assert relay.broken
    assert b"[DONE]" not in out


async def test_a_finished_answer_without_done_is_given_one() -> None:
    out, relay, _, _ = await run(ROLE, HI, STOP)
    assert out == ROLE + HI + STOP + DONE
    assert not relay.broken


async def test_leaving_early_closes_the_upstream_and_settles_once() -> None:
    account, upstream = exchange(), ScriptedReply(ROLE, HI, HI)
    relay = Relay(upstream, account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    assert await anext(relay) == ROLE
    assert await anext(relay) == HI
    with trio.CancelScope() as scope:
        scope.cancel()
        await relay.aclose()
    await relay.aclose()
    assert upstream.closed
    assert account.settled
    assert account.usage.estimated


async def test_an_interrupted_stream_ends_with_the_error_event() -> None:
    account, upstream = exchange(), ScriptedReply(ROLE, HI, HI)
    relay = Relay(upstream, account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    assert await anext(relay) == ROLE
    relay.interrupt(GatewayError("draining", "going away"))
    assert json.loads((await anext(relay)).removeprefix(b"data: "))["error"]["code"] == "draining"
    assert relay.broken
    await relay.aclose()


async def test_an_interruption_ends_a_wait_that_is_under_way() -> None:
    class Silent(ScriptedReply):
        async def receive(self) -> bytes:
            return await super().receive() or await self.silence()

    relay = Relay(Silent(ROLE, HI), exchange(), hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    out: list[bytes] = []

    async def read() -> None:
        out.extend([part async for part in relay])

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            relay.interrupt(GatewayError("draining", "going away"))
    assert out[:2] == [ROLE, HI]
    assert json.loads(out[2].removeprefix(b"data: "))["error"]["code"] == "draining"
    await relay.aclose()


async def test_the_last_piece_is_known_to_be_the_last() -> None:
    relay = Relay(ScriptedReply(ROLE, HI + STOP, DONE), exchange(), hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    assert [relay.ended async for _ in relay] == [False, False, True]
    await relay.aclose()


# Engines write their chunks in many ways; whatever the way, a stream says what its events say one by one.

TEXT = st.lists(
    st.sampled_from(
        ["a", " b", "é", "🙂", "\u2028", '"finish_reason":"stop"', '"usage":{}', "\n\ndata: ", "[DONE]", '"', "\\", ""]
    )
).map("".join)


def styled(style: int, text: str, index: int = 0) -> bytes:
    """A chunk with content, as one engine or another writes it."""
    delta: dict[str, Any] = {"content": text}
    chunk: dict[str, Any] = {"id": "c", "created": 17, "model": "m"}
    choice: dict[str, Any] = {"index": index, "delta": delta}
    match style:
        case 0:  # vLLM
            chunk |= {"choices": [choice | {"logprobs": None, "finish_reason": None}], "usage": None}
        case 1:  # llama-server
            chunk = {"choices": [{"finish_reason": None} | choice], "timings": {"cache_n": len(text)}} | chunk
        case 2:  # Ollama, where nothing has ended until something has
            chunk |= {"choices": [choice | {"delta": {"role": "assistant"} | delta}]}
        case 3:  # a completion
            chunk |= {"choices": [{"text": text, "index": index, "finish_reason": None}]}
        case 4:  # reasoning
            chunk |= {"choices": [choice | {"delta": {"content": None, "reasoning_content": text}}]}
        case _:  # a tool call
            part = {"index": 1, "function": {"arguments": text}}
            chunk |= {"choices": [choice | {"delta": {"tool_calls": [part]}}]}
    separators = (",", ":") if style % 2 else (", ", ": ")
    return json.dumps(chunk, separators=separators, ensure_ascii=style % 3 == 0).encode()


EVENTS = st.lists(
    st.builds(
        lambda style, index, texts: [b"data: %b\n\n" % styled(style, text, index) for text in texts],
        st.integers(0, 5),
        st.sampled_from([0, 0, 0, 1]),
        st.lists(TEXT, min_size=4, max_size=12),
    )
    | st.sampled_from(
        [
            [ROLE],
            [STOP],
            [STOP.replace(b'"index":0', b'"index": 1')],
            [USAGE],
            [HI.replace(b"}\n\n", b',"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n')],
            [b": ping\n\n"],
            [b"\n"],
            [b"id: 7\r\ndata: {}\r\n\r\n"],
            [b'data: {"error":{"message":"x"}}\n\n'],
        ]
    ),
    min_size=1,
    max_size=8,
).map(lambda lists: [event for events in lists for event in events])


class Reference:
    """What a stream says, found the slow way: every event for itself, with another parser."""

    def __init__(self) -> None:
        self.out, self.usage, self.content, self.open = b"", Usage(), 0, set[int]()
        self.finished = self.error = False

    def take(self, event: bytes) -> None:
        lines = [line.removeprefix(b"data: ") for line in event.splitlines() if line.startswith(b"data: ")]
        if not lines:
            return
        chunk = json.loads(lines[0])
        choices, usage = chunk.get("choices", []), chunk.get("usage")
        self.content += any(self.says_something(choice) for choice in choices)
        for choice in choices:
            if choice.get("finish_reason"):
                self.open.discard(choice["index"])
                self.finished = True
            else:
                self.open.add(choice["index"])
        self.error = self.error or bool(chunk.get("error"))
        if usage:
            self.usage = Usage(usage["prompt_tokens"], usage["completion_tokens"])
        if choices or not usage:
            self.out += event

    @staticmethod
    def says_something(choice: dict[str, Any]) -> bool:
        delta = choice.get("delta", {})
        return any(
            choice.get(name) or delta.get(name) for name in ("text", "content", "reasoning_content", "tool_calls")
        )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("flood", [1, 500])
@settings(max_examples=300)
@given(events=EVENTS, done=st.booleans(), data=st.data())
def test_looking_at_runs_is_the_same_as_looking_at_every_event(
    flood: int, events: list[bytes], done: bool, data: st.DataObject
) -> None:
    stream = b"".join(events) + (DONE if done else b"")
    ends = st.sampled_from([0, *accumulate(len(event) for event in events)])  # where a read ends as a rule
    cuts = sorted(
        data.draw(st.lists(ends, min_size=3, max_size=12) | st.lists(st.integers(0, len(stream)), max_size=9))
    )
    reads = [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)]) if start < end]
    reference = Reference()
    for event in events:
        reference.take(event)
    account, takes = exchange(), data.draw(st.none() | st.lists(st.booleans(), min_size=1, max_size=4))
    relay = Relay(ScriptedReply(*reads), account, hide_usage=True, on_close=lambda _: None)

    async def relayed() -> bytes:
        await relay.prime()
        return await heard(relay, takes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("appliance.gateway.relay._FLOOD", flood)
        good = done and not reference.error and (reference.finished or reference.content > 0)
        if not (reference.out or good):
            with pytest.raises(GatewayError):
                trio.run(relayed)
            return
        out = trio.run(relayed)
    end = out.removeprefix(reference.out)
    assert out.startswith(reference.out)
    assert relay.ended
    if good or (not reference.error and reference.finished and not reference.open):
        assert (end, relay.broken) == (DONE, False)
    else:
        assert relay.broken
        assert (end == b"") is reference.error
        assert b"[DONE]" not in end
    estimate = Usage(output=reference.content, estimated=True) if reference.content else Usage()
    # The engine's own error is settled without an estimate until the stream is closed.
    assert (
        account.usage in {reference.usage, estimate}
        if reference.error
        else (account.usage == (reference.usage if reference.usage != Usage() else estimate))
    )
    assert (account.first_token is not None) is (reference.content > 0)


async def test_only_a_stream_that_is_silent_gives_a_sign_of_life_and_none_counts_as_output() -> None:
    account = exchange()
    relay = Relay(ScriptedReply(ROLE, HI, STOP, DONE), account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    out = await anext(relay)
    assert relay.keep_alive() == b""
    assert relay.keep_alive() == b": keep-alive\n"
    assert relay.keep_alive() == b": keep-alive\n"
    out += await anext(relay)
    assert relay.keep_alive() == b""
    out += b"".join([part async for part in relay])
    assert relay.keep_alive() == relay.keep_alive() == b""
    assert account.bytes_out == len(out)
    await relay.aclose()
