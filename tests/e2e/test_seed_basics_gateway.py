"""The user's first document: chat, Messages and embeddings behind aliases. Its examples and every row of its tables."""

import json
from typing import Any

import httpx
import pytest

from tests.fakes.house import KEYS
from tests.fakes.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHAT = """
{
  "model": "basics-chat-smart",
  "messages": [
    { "role": "system", "content": "You are a helpful assistant." },
    { "role": "user", "content": "Hello!" }
  ],
  "stream": true
}
"""
MESSAGES = """
{
  "model": "basics-chat-smart",
  "messages": [
    { "role": "user", "content": "Hello!" }
  ],
  "max_tokens": 512,
  "stream": true
}
"""
EMBEDDINGS = """
{
  "model": "basics-embed-small",
  "input": [
    "First text",
    "Second text"
  ]
}
"""


def ask(
    box: Product, path: str, body: str | dict[str, Any] | bytes, key: str | None = KEYS["basics"]
) -> httpx.Response:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    content = json.dumps(body) if isinstance(body, dict) else body
    return httpx.post(f"{box.url}{path}", content=content, headers=headers, timeout=30)


def without(body: str, *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in json.loads(body).items() if name not in names} | changes


def data_of(reply: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_chat_as_printed_streams_chunks(documents: Product) -> None:
    reply = ask(documents, "/v1/chat/completions", CHAT)
    assert reply.headers["content-type"] == "text/event-stream"
    chunks = data_of(reply)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("body", [without(CHAT, "stream"), without(CHAT, stream=False), without(CHAT, stream=None)])
def test_chat_without_a_stream_returns_the_json_of_the_engine(documents: Product, body: dict[str, Any]) -> None:
    reply = ask(documents, "/v1/chat/completions", body)
    answer = reply.json()
    assert reply.status_code == 200
    assert (answer["object"], answer["model"]) == ("chat.completion", "smart")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["total_tokens"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
def test_a_key_is_required(documents: Product, path: str) -> None:
    for key in (None, "bos_live_sk_other"):
        assert ask(documents, path, CHAT, key=key).status_code == 401


@pytest.mark.parametrize("field", ["model", "messages"])
def test_required_fields_of_chat(documents: Product, field: str) -> None:
    reply = ask(documents, "/v1/chat/completions", without(CHAT, field))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("alias", ["nobody", "gone"])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES), ("/v1/embeddings", EMBEDDINGS)]
)
def test_an_unknown_or_inactive_alias_is_404(documents: Product, path: str, body: str, alias: str) -> None:
    reply = ask(documents, path, without(body, model=alias))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
@pytest.mark.parametrize("body", ["{", "", "[]", b"\xff", '{"model": 1, "messages": 1, "input": 1}'])
def test_malformed_json_or_structure_is_422(documents: Product, path: str, body: str | bytes) -> None:
    reply = ask(documents, path, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_payload")


def test_messages_as_printed_streams_a_message(documents: Product) -> None:
    reply = ask(documents, "/v1/messages", MESSAGES)
    kinds = [event["type"] for event in data_of(reply)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert reply.text.count("event: ") == len(kinds)


@pytest.mark.parametrize("path", ["/v1/messages", "/api/client/v1/messages"])
def test_messages_without_stream_model_or_limit(documents: Product, path: str) -> None:
    reply = ask(documents, path, without(MESSAGES, "stream", "model", "max_tokens"))
    message = reply.json()
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["content"][0]["text"]
    assert reply.headers["x-gateway-model"] == "basics-chat-smart"


def test_max_tokens_of_a_message(documents: Product) -> None:
    message = ask(documents, "/v1/messages", without(MESSAGES, "stream", max_tokens=2)).json()
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 2)


def test_messages_are_required(documents: Product) -> None:
    reply = ask(documents, "/v1/messages", without(MESSAGES, "messages"))
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize("content", ["Hi", [{"type": "text", "text": "Hi"}]])
def test_allowed_roles_with_plain_and_rich_content(documents: Product, role: str, content: object) -> None:
    turns = [{"role": "user", "content": "Hello!"}, {"role": role, "content": content}]
    assert ask(documents, "/v1/messages", without(MESSAGES, "stream", messages=turns)).status_code == 200


def test_another_role_is_422(documents: Product) -> None:
    turns = [{"role": "tool", "content": "x"}]
    reply = ask(documents, "/v1/messages", without(MESSAGES, messages=turns))
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_payload")


def test_messages_call_chat_and_system_turns_become_the_users(documents: Product) -> None:
    turns = [{"role": "user", "content": "Hello!"}, {"role": "system", "content": "Be brief."}]
    assert ask(documents, "/v1/messages", without(MESSAGES, "stream", messages=turns)).status_code == 200
    asked = documents.last_request("smart")
    assert asked["path"] == "/v1/chat/completions"
    assert json.loads(asked["body"])["messages"] == [{"role": "user", "content": "Hello!\n\nBe brief."}]


def test_embeddings_as_printed(documents: Product) -> None:
    reply = ask(documents, "/v1/embeddings", EMBEDDINGS)
    answer = reply.json()
    assert (answer["object"], answer["model"]) == ("list", "text-embedding-3-small")
    assert [(item["object"], item["index"]) for item in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    assert all(isinstance(number, float) for number in answer["data"][0]["embedding"])
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_the_input_of_embeddings_may_be_one_string_and_is_required(documents: Product) -> None:
    assert len(ask(documents, "/v1/embeddings", without(EMBEDDINGS, input="One text")).json()["data"]) == 1
    assert ask(documents, "/v1/embeddings", without(EMBEDDINGS, "input")).status_code == 400
    assert ask(documents, "/v1/embeddings", without(EMBEDDINGS, "model")).status_code == 400


def test_the_aliases_are_those_of_the_model_list(documents: Product) -> None:
    headers = {"authorization": f"Bearer {KEYS['basics']}"}
    names = {model["id"] for model in httpx.get(f"{documents.url}/v1/models", headers=headers).json()["data"]}
    assert {"basics-chat-smart", "basics-embed-small"} <= names
    assert "gone" not in names
