"""The user's second document: the client API below /api/client/v1. Its examples and every row of its tables.

What it says of guardrails, quotas and circuits is shown where those are tested.
"""

import ast
import json
import shutil
from typing import Any

import httpx
import pytest

from tests.fakes.house import KEYS, python, run, shell
from tests.fakes.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PATH = "/api/client/v1/chat/completions"
HOST = "https://gateway.example.com"

REQUEST = """
{
"model": "gpt-4",
"messages": [
{ "role": "system", "content": "You are a helpful assistant." },
{ "role": "user", "content": "What is the capital of France?" }
],
"temperature": 0.7,
"max_tokens": 1000,
"stream": false,
"request_id": "optional-correlation-id"
}
"""
CURL = r"""
curl -X POST https://gateway.example.com/api/client/v1/chat/completions \
-H "Authorization: Bearer cgt_your_token" \
-H "Content-Type: application/json" \
-d '{
"model": "gpt-4",
"messages": [{"role": "user", "content": "Hello"}]
}'
"""
PYTHON = """
import requests
response = requests.post(
"https://gateway.example.com/api/client/v1/chat/completions",
headers={"Authorization": "Bearer cgt_your_token"},
json={
"model": "gpt-4",
"messages": [{"role": "user", "content": "Hello"}]
}
)
print(response.json())
"""
NODE = """
const response = await fetch('https://gateway.example.com/api/client/v1/chat/completions', {
method: 'POST',
headers: {
'Authorization': 'Bearer cgt_your_token',
'Content-Type': 'application/json',
},
body: JSON.stringify({
model: 'gpt-4',
messages: [{ role: 'user', content: 'Hello' }],
}),
});
const data = await response.json();
"""


def ask(box: Product, body: dict[str, Any], key: str = KEYS["client"]) -> httpx.Response:
    return httpx.post(f"{box.url}{PATH}", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30)


def request(*names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in json.loads(REQUEST).items() if name not in names} | changes


def is_answer(answer: Any) -> bool:
    return bool(answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"])


def test_the_request_as_printed_has_the_response_as_printed(documents: Product) -> None:
    reply = ask(documents, request())
    answer = reply.json()
    assert reply.status_code == 200
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["request_id"]) == ("chat.completion", "optional-correlation-id")
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["role"], choice["finish_reason"]) == (0, "assistant", "stop")
    usage = answer["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert reply.headers["x-request-id"] == "optional-correlation-id"


def test_without_an_id_of_the_clients_it_gets_one_of_ours(documents: Product) -> None:
    reply = ask(documents, request("request_id"))
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert reply.json()["request_id"].startswith("req_")


def test_a_stream_has_the_headers_and_the_end_as_printed(documents: Product) -> None:
    reply = ask(documents, request(stream=True))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.headers["x-request-id"] == "optional-correlation-id"
    *lines, last = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    chunks = [json.loads(line) for line in lines]
    assert last == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all(chunk["object"] == "chat.completion.chunk" and chunk["choices"][0]["index"] == 0 for chunk in chunks)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_the_engine_gets_every_parameter_but_the_correlation_id(documents: Product) -> None:
    ask(documents, request(max_completion_tokens=900))
    sent = json.loads(documents.last_request("smart")["body"])
    assert (sent["temperature"], sent["max_tokens"], sent["max_completion_tokens"]) == (0.7, 1000, 900)
    assert (sent["stream"], "request_id" in sent) == (False, False)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("temperature", [0, 2, 0.7, None], [-0.1, 2.1, "hot"]),
        ("max_tokens", [1, 1000, None], [-1, 1.5, "many"]),
        ("max_completion_tokens", [1, 1000, None], [-1, 1.5, "many"]),
        ("stream", [False, None], ["yes", 1]),
        ("request_id", ["a", "x" * 128, None], ["", "x" * 129, "a b", 5]),
    ],
)
def test_each_optional_parameter_in_and_out_of_its_range(
    documents: Product, field: str, good: list[object], bad: list[object]
) -> None:
    for value in good:
        assert ask(documents, request(**{field: value})).status_code == 200
    for value in bad:
        reply = ask(documents, request(**{field: value}))
        assert (reply.status_code, reply.json()["error"]["param"]) == (422, field)


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_each_role_of_a_message(documents: Product, role: str) -> None:
    assert ask(documents, request(messages=[{"role": role, "content": "..."}])).status_code == 200


@pytest.mark.parametrize("field", ["model", "messages"])
def test_400_for_a_missing_model_or_messages(documents: Product, field: str) -> None:
    for body in (request(field), request(**{field: None})):
        reply = ask(documents, body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


def test_401_for_an_invalid_token(documents: Product) -> None:
    reply = ask(documents, request(), key="cgt_other")
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")


def test_404_for_a_model_that_is_not_found(documents: Product) -> None:
    assert ask(documents, request(model="gpt-5")).status_code == 404


def test_422_for_a_model_that_is_no_llm(documents: Product) -> None:
    reply = ask(documents, request(model="basics-embed-small"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "model_category_mismatch")


def test_the_example_for_curl(documents: Product) -> None:
    assert is_answer(json.loads(shell(CURL.replace(HOST, documents.url))))


def test_the_example_for_python(documents: Product) -> None:
    assert is_answer(ast.literal_eval(python(PYTHON.replace(HOST, documents.url))))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_example_for_node(documents: Product) -> None:
    script = NODE.replace(HOST, documents.url) + "console.log(JSON.stringify(data));"
    assert is_answer(json.loads(run("node", "--input-type=module", text=script)))
