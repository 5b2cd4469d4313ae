import json
import logging
from collections.abc import Callable
from typing import Any, Literal

import pytest
import trio
import trio.testing

from appliance.config.schema import Guardrail, Limits
from appliance.config.units import Seconds
from appliance.domain.http import Reply
from appliance.errors import ConnectFailed
from appliance.guardrails.rules import Guardrails
from tests.fakes.accounts import text_of
from tests.fakes.path import Path, header
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
BOTH: tuple[Literal["input", "output"], ...] = ("input", "output")


def pii(action: Literal["block", "redact", "flag"] = "block", **more: Any) -> Guardrail:
    return Guardrail(name="pii-checker", kind="pii", action=action, models=("*",), **{"on": BOTH} | more)


def guard(**more: Any) -> Guardrail:
    return Guardrail(name="llama-guard", kind="model", model="m", **{"on": BOTH, "models": ("remote",)} | more)


def said(text: str, **more: Any) -> ScriptedReply:
    message = {"role": "assistant", "content": text, **more}
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return ScriptedReply(json.dumps(whole).encode(), headers=JSON)


async def chat(path: Path, text: str, model: str = "remote", **more: Any) -> Reply:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return await path.ask("POST", "/v1/chat/completions", json.dumps(body).encode())


def error(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply.body, bytes)
    found: dict[str, Any] = json.loads(reply.body)["error"]
    return found


def sent(path: Path, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.upstreams.asked[number][1].body)
    return found


async def test_a_blocked_request_reaches_no_engine_and_is_told_as_documented() -> None:
    path = Path(guardrails=[pii()], limits={"env-1": Limits(tokens_per_minute=1000)})
    reply = await chat(path, "mail bob@example.com")
    assert reply.status == 400
    assert error(reply) == {
        "message": "Content blocked by guardrail",
        "type": "guardrail_block",
        "param": None,
        "code": "guardrail_block",
        "guardrail_key": "pii-checker",
        "action": "block",
        "findings": [{"category": "email", "message": "PII detected"}],
    }
    assert path.upstreams.asked == []
    assert header(reply, "x-ratelimit-remaining-tokens") == "1000"
    (record,) = path.records
    assert (record.error_code, record.guardrails) == ("guardrail_block", "pii-checker:email:block")
    text = text_of(path.metrics)
    assert 'evaluations_total{action="block",guardrail="pii-checker",on="input"} 1.0' in text
    assert 'findings_total{category="email",guardrail="pii-checker",on="input"} 1.0' in text
    assert 'appliance_rejections_total{model="remote",reason="guardrail_block"} 1.0' in text


async def test_the_same_in_the_error_shape_of_messages() -> None:
    body = b'{"model":"remote","max_tokens":9,"messages":[{"role":"user","content":"bob@example.com"}]}'
    reply = await Path(guardrails=[pii()]).ask("POST", "/v1/messages", body)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["type"]) == (400, "error")
    assert (error(reply)["type"], error(reply)["guardrail_key"]) == ("invalid_request_error", "pii-checker")
    assert error(reply)["findings"] == [{"category": "email", "message": "PII detected"}]


PLACES: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"messages": [{"role": "system", "content": "SECRET"}]}),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "SECRET"}]}]}),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"description": "SECRET"}}]},
    ),
    ("completions", {"prompt": ["x", "SECRET"]}),
    ("embeddings", {"input": ["SECRET"]}),
    ("messages", {"max_tokens": 1, "system": "SECRET", "messages": [{"role": "user", "content": "x"}]}),
    ("messages", {"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "SECRET"}]}]}),
    (
        "messages",
        {
            "messages": [{"role": "user", "content": "x"}],
            "tools": [{"name": "t", "description": "SECRET", "input_schema": {}}],
        },
    ),
    ("messages/count_tokens", {"messages": [{"role": "user", "content": "SECRET"}]}),
]


@pytest.mark.parametrize(("route", "body"), PLACES)
async def test_every_place_of_a_request_is_looked_at(route: str, body: dict[str, Any]) -> None:
    text = json.dumps({"model": "remote", **body}).replace("SECRET", "sk-abcdefghijklmnopqrstuvwxyz")
    for prefix in ("/v1", "/api/client/v1"):
        path = Path(guardrails=[pii()])
        reply = await path.ask("POST", f"{prefix}/{route}", text.encode())
        assert (reply.status, path.upstreams.asked) == (400, [])
        assert error(reply)["findings"] == [{"category": "secret", "message": "Secret detected"}]


async def test_a_redacted_request_is_rewritten_and_nothing_else_of_it() -> None:
    path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii("redact", on=("input",))])
    body = (
        b'{"model":"remote","messages":[{"role":"user","content":"mail bob@example.com"}],"temperature":1.0,'
        b'"custom":{"b": 1,"a":0.10},"tools":[{"type":"function","function":{"name":"f"}}]}'
    )
    reply = await path.ask("POST", "/v1/chat/completions", body)
    assert path.upstreams.asked[0][1].body == (
        b'{"model":"x","messages":[{"role":"user","content":"mail [EMAIL]"}],"temperature":1.0,'
        b'"custom":{"b":1,"a":0.10},"tools":[{"type":"function","function":{"name":"f"}}]}'
    )
    assert header(reply, "x-guardrail-redacted") == "pii-checker"
    assert path.records[0].guardrails == "pii-checker:email:redact"


async def test_a_redacted_messages_request_is_translated_after_that() -> None:
    path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii("redact", on=("input",))])
    body = (
        b'{"model":"remote","max_tokens":9,"system":"I am ann@example.com","messages":[{"role":"user","content":"hi"}]}'
    )
    reply = await path.ask("POST", "/v1/messages", body)
    assert reply.status == 200
    assert sent(path)["messages"][0] == {"role": "system", "content": "I am [EMAIL]"}


async def test_a_flag_lets_everything_pass_with_a_mark_and_never_shows_the_match(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    whole = said("and ann@example.com")
    path = Path(ScriptedUpstreams(whole), guardrails=[pii("flag")])
    reply = await chat(path, "mail bob@example.com")
    assert sent(path)["messages"][0]["content"] == "mail bob@example.com"
    assert isinstance(reply.body, bytes)
    assert b"ann@example.com" in reply.body
    assert header(reply, "x-guardrail-flagged") == "pii-checker"
    assert path.records[0].guardrails == "pii-checker:email:flag"
    assert "example.com" not in caplog.text
    assert "example.com" not in str(reply.headers)
    text = text_of(path.metrics)
    assert 'action="flag",guardrail="pii-checker",on="input"} 1.0' in text
    assert 'action="flag",guardrail="pii-checker",on="output"} 1.0' in text


async def test_a_whole_answer_is_redacted_in_every_field() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"card": 4111111111111111}'}}
    answer = said("ann@example.com", reasoning_content="bob@example.com?", tool_calls=[call])
    path = Path(ScriptedUpstreams(answer), guardrails=[pii("redact")])
    reply = await chat(path, "hi")
    assert isinstance(reply.body, bytes)
    message = json.loads(reply.body)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("[EMAIL]", "[EMAIL]?")
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"card": "[CARD]"}
    assert 'appliance_tokens_total{model="remote",type="output"} 4.0' in text_of(path.metrics)


async def test_a_blocked_answer_costs_what_it_cost() -> None:
    path = Path(ScriptedUpstreams(said("ann@example.com")), guardrails=[pii()])
    reply = await chat(path, "hi")
    assert (reply.status, error(reply)["guardrail_key"]) == (400, "pii-checker")
    assert 'appliance_tokens_total{model="remote",type="output"} 4.0' in text_of(path.metrics)


async def test_an_answer_that_cannot_be_looked_at_does_not_pass() -> None:
    path = Path(
        ScriptedUpstreams(ScriptedReply(b"bob@example.com", headers=[("content-type", "text/plain")])),
        guardrails=[pii()],
    )
    reply = await chat(path, "hi")
    assert (reply.status, error(reply)["code"]) == (502, "upstream_protocol")


async def test_an_embedding_has_no_text_to_look_at() -> None:
    vectors = b'{"data":[{"embedding":[0.10,1e-5]}],"usage":{"prompt_tokens":3}}'
    path = Path(ScriptedUpstreams(ScriptedReply(vectors, headers=JSON)), guardrails=[pii("redact")])
    reply = await path.ask("POST", "/v1/embeddings", b'{"model":"remote","input":"hi"}')
    assert isinstance(reply.body, bytes)
    assert reply.body.startswith(vectors[:-1])


async def test_numbers_of_tokens_are_refused_where_somebody_has_to_read_them() -> None:
    reply = await Path(guardrails=[pii()]).ask("POST", "/v1/completions", b'{"model":"remote","prompt":[1,2,3]}')
    assert (reply.status, error(reply)["param"]) == (422, "prompt")


async def test_a_request_may_be_too_long() -> None:
    limit = Guardrail(name="short", kind="max_input", max_chars=5, models=("*",))
    reply = await chat(Path(guardrails=[limit]), "123456")
    assert (reply.status, error(reply)["findings"][0]["category"]) == (400, "too_long")
    assert (await chat(Path(ScriptedUpstreams(said("ok")), guardrails=[limit]), "12345")).status == 200


async def test_a_model_that_no_guardrail_is_for_is_not_looked_at() -> None:
    some = Guardrail(name="pii", kind="pii", models=("m",))
    path = Path(ScriptedUpstreams(said("ok")), guardrails=[some])
    assert (await chat(path, "bob@example.com")).status == 200
    assert (await chat(path, "bob@example.com", model="m")).status == 400


async def test_a_long_text_gives_others_their_turns() -> None:
    path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii("flag", on=("input",))])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await chat(path, "12345678 " * 10_000)
        nursery.cancel_scope.cancel()
    assert turns >= 30


async def test_new_guardrails_are_for_new_requests() -> None:
    path = Path(ScriptedUpstreams(said("ok"), said("ok")))
    assert (await chat(path, "bob@example.com")).status == 200
    path.gateway.guardrails = Guardrails([pii()])
    assert (await chat(path, "bob@example.com")).status == 400


# Guard models:


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
