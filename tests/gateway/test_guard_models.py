"""Guardrails that ask a guard model, through the whole path."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from appliance.config.schema import Guardrail
from appliance.config.units import Seconds
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import ConnectFailed
from tests.fakes.accounts import text_of
from tests.fakes.path import Path, header
from tests.fakes.runtime import SOCKET
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams
from tests.gateway.test_guarding import BOTH, HELLO, JSON, chat, error, said, sent


def guard(**more: Any) -> Guardrail:
    return Guardrail(name="llama-guard", kind="model", model="m", **{"on": BOTH, "models": ("remote",)} | more)


async def test_a_guard_model_is_asked_on_both_sides_and_its_work_is_accounted() -> None:
    path = Path(ScriptedUpstreams(said("safe"), said("Hello"), said("safe")), guardrails=[guard(instructions="Judge.")])
    reply = await chat(path, "hi")
    assert reply.status == 200
    assert [request["model"] for request in (sent(path, 0), sent(path, 1), sent(path, 2))] == ["m", "x", "m"]
    assert sent(path, 0)["messages"] == [{"role": "system", "content": "Judge."}, {"role": "user", "content": "hi"}]
    assert sent(path, 2)["messages"][1:] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    assert sent(path, 0)["temperature"] == 0
    assert [(record.model, record.key, record.usage.output) for record in path.records] == [
        ("m", "env-1", 4),
        ("m", "env-1", 4),
        ("remote", "env-1", 4),
    ]
    assert not path.runtime.held
    assert 'action="pass",guardrail="llama-guard",on="output"} 1.0' in text_of(path.metrics)


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
async def test_what_a_guard_model_calls_unsafe_is_blocked_with_its_category(prefix: str) -> None:
    rules = guard(on=("input",), categories={"S1": "violent_crimes"})
    path = Path(ScriptedUpstreams(said("unsafe\nS1,S9")), guardrails=[rules])
    reply = await path.ask(
        "POST", f"{prefix}/chat/completions", b'{"model":"remote","messages":[{"role":"user","content":"x"}]}'
    )
    assert (reply.status, len(path.upstreams.asked)) == (400, 1)
    assert error(reply)["findings"] == [
        {"category": "violent_crimes", "message": "The guard model found the text unsafe"},
        {"category": "S9", "message": "The guard model found the text unsafe"},
    ]


async def test_an_unsafe_answer_is_blocked() -> None:
    path = Path(ScriptedUpstreams(said("safe"), said("Hello"), said("unsafe\nS2")), guardrails=[guard()])
    reply = await chat(path, "hi")
    assert (reply.status, error(reply)["findings"][0]["category"]) == (400, "S2")
    assert isinstance(reply.body, bytes)
    assert b"Hello" not in reply.body


async def test_a_flagging_guard_model_lets_pass() -> None:
    path = Path(ScriptedUpstreams(said("unsafe\nS2"), said("Hello"), said("safe")), guardrails=[guard(action="flag")])
    reply = await chat(path, "hi")
    assert (reply.status, header(reply, "x-guardrail-flagged")) == (200, "llama-guard")


async def test_a_guard_model_that_has_guardrails_itself_is_asked_without_them() -> None:
    everywhere = guard(models=("*",), on=("input",))
    path = Path(ScriptedUpstreams(said("safe"), said("Hello")), guardrails=[everywhere])
    assert (await chat(path, "hi", model="m")).status == 200
    assert len(path.upstreams.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: said("I cannot say."),
        lambda: ScriptedReply(b'{"error":{"message":"too long"}}', status=400, headers=JSON),
        lambda: ConnectFailed("refused"),
        lambda: ScriptedReply(b'{"choi', headers=JSON),
    ],
)
async def test_a_guard_model_that_fails_lets_nothing_pass_unless_that_is_wanted(answer: Callable[[], Any]) -> None:
    path = Path(ScriptedUpstreams(answer()), guardrails=[guard(on=("input",))])
    reply = await chat(path, "hi")
    assert (reply.status, error(reply)["code"]) == (503, "guardrail_unavailable")
    assert header(reply, "retry-after")
    assert len(path.upstreams.asked) == 1
    assert 'action="error",guardrail="llama-guard",on="input"} 1.0' in text_of(path.metrics)


async def test_a_guard_model_that_fails_may_be_told_to_let_pass() -> None:
    rules = guard(on=("input",), on_failure="allow")
    path = Path(ScriptedUpstreams(ConnectFailed("refused"), said("Hello")), guardrails=[rules])
    assert (await chat(path, "hi")).status == 200
    assert 'action="error",guardrail="llama-guard",on="input"} 1.0' in text_of(path.metrics)


async def test_a_guard_model_that_is_not_there_fails_too() -> None:
    rules = Guardrail(name="g", kind="model", model="nobody", models=("*",))
    assert (await chat(Path(guardrails=[rules]), "hi")).status == 503


async def test_a_guard_model_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    class Mute(ScriptedReply):
        async def receive(self) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

    mute = Mute(headers=JSON)
    path = Path(ScriptedUpstreams(mute), guardrails=[guard(on=("input",), timeout=Seconds(7))])
    began = trio.current_time()
    reply = await chat(path, "hi")
    assert (reply.status, trio.current_time() - began) == (503, 7)
    assert mute.closed
    assert [(record.model, record.error_code) for record in path.records] == [
        ("m", "guardrail_unavailable"),
        ("remote", "guardrail_unavailable"),
    ]
    assert not path.runtime.held
    assert "appliance_client_disconnects_total{" not in text_of(path.metrics)


async def test_a_client_that_leaves_meanwhile_leaves_nothing_behind() -> None:
    class Mute(ScriptedReply):
        async def receive(self) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

    mute = Mute(headers=JSON)
    path = Path(ScriptedUpstreams(mute), guardrails=[guard(on=("input",))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat, path, "hi")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert mute.closed
    assert [(record.model, record.outcome) for record in path.records] == [
        ("m", "client_gone"),
        ("remote", "client_gone"),
    ]
    assert "evaluations_total{" not in text_of(path.metrics)  # it has not looked
    assert not path.runtime.held


async def test_a_stream_is_judged_by_a_guard_model_before_it_leaves() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(HELLO), said("unsafe\nS1")), guardrails=[guard(on=("output",))])
    reply = await chat(path, "hi", stream=True)
    assert (reply.status, error(reply)["findings"][0]["category"]) == (400, "S1")
    path = Path(ScriptedUpstreams(ScriptedReply(HELLO), said("safe")), guardrails=[guard(on=("output",))])
    reply = await chat(path, "hi", stream=True)
    assert not isinstance(reply.body, bytes)
    assert b"".join([part async for part in reply.body]) == HELLO
    await reply.body.aclose()
    assert 'action="pass",guardrail="llama-guard",on="output"} 1.0' in text_of(path.metrics)
    assert sent(path, 1)["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]


async def test_an_answer_that_is_looked_at_does_not_wait_for_the_slot_that_it_has_itself() -> None:
    """The guard model is the model itself, and has one slot."""
    rules = Guardrail(name="g", kind="model", model="m", models=("m",), on=BOTH)
    path = Path(ScriptedUpstreams(said("safe"), ScriptedReply(HELLO), said("safe")), guardrails=[rules])
    path.fleet.set_replica(
        ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, since=0.0, endpoint=SOCKET, slots=1)
    )
    with trio.fail_after(5):
        reply = await path.ask(
            "POST", "/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
        )
        assert not isinstance(reply.body, bytes)
        text = b"".join([piece async for piece in reply.body])
        await reply.body.aclose()
    assert text.endswith(b"data: [DONE]\n\n")
    line = path.queues._lines["m"]
    assert (line.running, line.waiting) == (0, 0)
