import json
import logging
from typing import Any, Literal

import pytest
import trio
import trio.testing

from appliance.config.schema import Guardrail, Limits
from appliance.domain.http import Reply
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


def in_parts(*texts: str, between: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for text in texts:
        parts += [{"type": "text", "text": text}, *([between] if between else [])]
    return parts


@pytest.mark.parametrize("between", [None, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])
async def test_a_secret_in_two_parts_of_a_message_is_redacted_at_every_split(between: dict[str, Any] | None) -> None:
    text = "card 4111 1111 1111 1111!"
    for cut in range(1, len(text)):
        path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii("redact", on=("input",))])
        body = {
            "model": "remote",
            "messages": [{"role": "user", "content": in_parts(text[:cut], text[cut:], between=between)}],
        }
        assert (await path.ask("POST", "/v1/chat/completions", json.dumps(body).encode())).status == 200
        parts = [part for part in sent(path)["messages"][0]["content"] if part["type"] == "text"]
        assert [part["type"] for part in parts] == ["text", "text"]
        assert "".join(part["text"] for part in parts) == "card [CARD]!"
        assert parts[0]["text"].startswith(text[: min(cut, 5)])
        assert parts[1]["text"].endswith("!")


async def test_a_secret_in_two_parts_is_blocked_and_flagged_at_every_split() -> None:
    text = "mail bob@example.com now"
    for cut in range(1, len(text)):
        content = in_parts(text[:cut], text[cut:])
        body = json.dumps({"model": "remote", "messages": [{"role": "user", "content": content}]}).encode()
        path = Path(guardrails=[pii()])
        assert error(await path.ask("POST", "/v1/chat/completions", body))["code"] == "guardrail_block"
        assert path.upstreams.asked == []
        path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii("flag", on=("input",))])
        reply = await path.ask("POST", "/v1/chat/completions", body)
        assert header(reply, "x-guardrail-flagged") == "pii-checker"
        assert sent(path)["messages"][0]["content"] == content


@pytest.mark.parametrize(
    "more",
    [
        {"system": in_parts("bob@exa", "mple.com")},
        {"messages": [{"role": "user", "content": in_parts("bob@exa", "mple.com")}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": in_parts("bob@exa", "mple.com")},
                    ],
                }
            ]
        },
    ],
)
async def test_parts_of_messages_requests_are_one_text_as_well(more: dict[str, Any]) -> None:
    body = {"model": "remote", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]} | more
    path = Path(guardrails=[pii()])
    reply = await path.ask("POST", "/v1/messages", json.dumps(body).encode())
    assert isinstance(reply.body, bytes)
    assert b"guardrail_block" in reply.body


async def test_two_messages_are_two_texts() -> None:
    messages = [{"role": "user", "content": in_parts("bob@exa")}, {"role": "user", "content": in_parts("mple.com")}]
    path = Path(ScriptedUpstreams(said("ok")), guardrails=[pii()])
    body = json.dumps({"model": "remote", "messages": messages}).encode()
    assert (await path.ask("POST", "/v1/chat/completions", body)).status == 200


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


def form(prompt: str) -> bytes:
    fields = {"model": "remote", "prompt": prompt, "file": "RIFF"}
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    return "".join([*parts, "--x--\r\n"]).encode()


FORM = [("content-type", "multipart/form-data; boundary=x")]


async def test_the_prompt_of_a_recording_is_looked_at_and_so_is_its_transcript() -> None:
    route = "/v1/audio/transcriptions"
    blocked = await Path(guardrails=[pii()]).ask("POST", route, form("names: bob@example.com"), headers=FORM)
    assert (blocked.status, error(blocked)["guardrail_key"]) == (400, "pii-checker")
    answer = ScriptedReply(b'{"text":"I am bob@example.com","segments":[{"text":"bob@example.com"}]}', headers=JSON)
    path = Path(ScriptedUpstreams(answer), guardrails=[pii("redact")])
    reply = await path.ask("POST", route, form("names: bob@example.com"), headers=FORM)
    assert b"names: [EMAIL]\r\n" in path.upstreams.asked[0][1].body
    assert isinstance(reply.body, bytes)
    assert b"bob" not in reply.body
    assert json.loads(reply.body)["text"] == "I am [EMAIL]"
    plain = ScriptedReply(b"I am bob@example.com", headers=[("content-type", "text/plain")])
    reply = await Path(ScriptedUpstreams(plain), guardrails=[pii("redact")]).ask("POST", route, form(""), headers=FORM)
    assert (reply.body, header(reply, "content-type")) == (b"I am [EMAIL]", "text/plain")


async def test_responses_are_looked_at_on_both_sides() -> None:
    blocked = await Path(guardrails=[pii()]).ask(
        "POST", "/v1/responses", b'{"model":"remote","input":"bob@example.com"}'
    )
    assert (blocked.status, error(blocked)["guardrail_key"]) == (400, "pii-checker")
    item = {"type": "message", "content": [{"type": "output_text", "text": "bob@example.com"}]}
    answer = ScriptedReply(json.dumps({"id": "r", "output": [item]}).encode(), headers=JSON)
    reply = await Path(ScriptedUpstreams(answer), guardrails=[pii("redact")]).ask(
        "POST", "/v1/responses", b'{"model":"remote","input":"hi"}'
    )
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["output"][0]["content"][0]["text"] == "[EMAIL]"


async def test_sound_that_a_model_makes_is_no_text() -> None:
    sound = ScriptedReply(b"RIFF bob@example.com", headers=[("content-type", "audio/wav")])
    path = Path(ScriptedUpstreams(sound), guardrails=[pii()])
    reply = await path.ask("POST", "/v1/audio/speech", b'{"model":"remote","input":"hi","voice":"v"}')
    assert not isinstance(reply.body, bytes)
    assert b"".join([part async for part in reply.body]) == b"RIFF bob@example.com"
    await reply.body.aclose()
