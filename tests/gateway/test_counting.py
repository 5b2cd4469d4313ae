import json
from typing import Any

import pytest

from tests.fakes.path import Path
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]


def says(value: Any, status: int = 200) -> ScriptedReply:
    return ScriptedReply(json.dumps(value).encode(), status=status, headers=JSON)


async def count(model: str, *answers: ScriptedReply) -> tuple[int, Any, list[tuple[str, Any]]]:
    path = Path(ScriptedUpstreams(*answers))
    body = {"model": model, "system": "s", "messages": [{"role": "user", "content": "hi"}]}
    reply = await path.ask("POST", "/v1/messages/count_tokens", json.dumps(body).encode())
    assert isinstance(reply.body, bytes)
    assert path.records[-1].operation == "count_tokens"
    asked = [(request.path, json.loads(request.body)) for _, request in path.upstreams.asked]
    return reply.status, json.loads(reply.body), asked


@pytest.mark.parametrize(("model", "known_as"), [("m", "m"), ("remote", "x")])
async def test_the_engines_own_count(model: str, known_as: str) -> None:
    status, body, asked = await count(model, says({"input_tokens": 12}))
    assert (status, body["input_tokens"]) == (200, 12)
    ((path, question),) = asked
    assert path == "/v1/messages/count_tokens"
    assert (question["model"], question["system"]) == (known_as, "s")


@pytest.mark.parametrize("status", [404, 500])
async def test_vllms_tokenizer_where_that_is_missing_or_fails(status: int) -> None:
    answer, body, asked = await count("remote", says({}, status), says({"count": 7, "tokens": [1] * 7}))
    assert (answer, body["input_tokens"]) == (200, 7)
    path, question = asked[1]
    assert path == "/tokenize"
    assert set(question) == {"model", "messages"}
    assert question["messages"][0] == {"role": "system", "content": "s"}


async def test_llama_servers_count_of_the_chat_request() -> None:
    status, body, asked = await count("m", says({}, 404), says({"input_tokens": 5, "object": "response.input_tokens"}))
    assert (status, body["input_tokens"], asked[1][0]) == (200, 5, "/v1/chat/completions/input_tokens")


async def test_llama_servers_template_and_tokenizer() -> None:
    status, body, asked = await count(
        "m", says({}, 404), says({}, 404), says({"prompt": "<s>hi"}), says({"tokens": [1, 2, 3]})
    )
    assert (status, body["input_tokens"]) == (200, 3)
    assert [path for path, _ in asked[2:]] == ["/apply-template", "/tokenize"]
    assert asked[3][1]["content"] == "<s>hi"


async def test_an_engine_with_neither_is_a_501_that_is_not_retried() -> None:
    status, body, _ = await count("remote", says({}, 404), says({}, 404))
    assert (status, body["type"], body["error"]["code"]) == (501, "error", "unsupported")


async def test_an_error_of_the_engine_keeps_its_status() -> None:
    error = {"error": {"message": "too long", "code": 400}}
    status, body, _ = await count("remote", says(error, 400), says(error, 400))
    assert (status, body["error"]["type"], body["error"]["message"]) == (400, "invalid_request_error", "too long")
