"""The user's third document: a gateway before self-hosted engines. Its examples and every row of its tables."""

import json
from typing import Any

import httpx
import pytest

from tests.fakes.house import KEYS, python, shell
from tests.fakes.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
HOST = "http://127.0.0.1:8000"
MODEL = "Qwen/Qwen2.5-7B-Instruct"

LIST = r"""
curl http://127.0.0.1:8000/v1/models \
  -H "Authorization: Bearer $API_KEY"
"""
CHAT = r"""
curl http://127.0.0.1:8000/v1/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $API_KEY" \
  -d '{
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "messages": [
      {"role": "system", "content": "You are concise."},
      {"role": "user", "content": "What is vLLM?"}
    ],
    "temperature": 0.2,
    "max_tokens": 200
  }'
"""
STREAM = r"""
curl -N http://127.0.0.1:8000/v1/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $API_KEY" \
  -d '{
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "stream": true,
    "messages": [{"role": "user", "content": "Stream one short sentence."}]
  }'
"""
COMPLETION = r"""
curl http://127.0.0.1:8000/v1/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $API_KEY" \
  -d '{
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "prompt": "Finish this sentence: GPU inference is",
    "temperature": 0.2,
    "max_tokens": 64
  }'
"""
EMBEDDING = r"""
curl http://127.0.0.1:8000/v1/embeddings \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $API_KEY" \
  -d '{
    "model": "BAAI/bge-small-en-v1.5",
    "input": ["self hosted chat api"]
  }'
"""
SDK = """
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="YOUR_API_KEY")
# Non-streaming
resp = client.chat.completions.create(
    model="Qwen/Qwen2.5-7B-Instruct",
    messages=[{"role": "user", "content": "Explain tensor parallelism briefly."}],
)
print(resp.choices[0].message.content)
# Streaming
with client.chat.completions.stream(
    model="Qwen/Qwen2.5-7B-Instruct",
    messages=[{"role": "user", "content": "Count to five."}],
) as stream:
    for event in stream:
        if event.type == "content.delta":
            print(event.delta, end="", flush=True)
"""


def printed(box: Product, example: str) -> str:
    """What an example prints, with our port and a key."""
    return shell(f"API_KEY={KEYS['plain']}\n{example.replace(HOST, box.url)}")


def ask(box: Product, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    sent = {"authorization": f"Bearer {KEYS['plain']}"} if headers is None else headers
    return httpx.post(f"{box.url}{path}", json=body, headers=sent, timeout=30)


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "x"}]} | changes


def test_the_model_list_as_printed_has_the_shape_of_a_backends(documents: Product) -> None:
    listed = json.loads(printed(documents, LIST))
    assert listed["object"] == "list"
    card = next(card for card in listed["data"] if card["id"] == MODEL)
    assert (card["object"], type(card["created"]), type(card["owned_by"])) == ("model", int, str)


def test_chat_as_printed(documents: Product) -> None:
    answer = json.loads(printed(documents, CHAT))
    assert answer["choices"][0]["message"]["content"]
    sent = json.loads(documents.last_request("smart")["body"])
    assert (sent["temperature"], sent["max_tokens"]) == (0.2, 200)
    assert sent["messages"][0] == {"role": "system", "content": "You are concise."}


def test_a_stream_as_printed_ends_with_done(documents: Product) -> None:
    assert printed(documents, STREAM).endswith("data: [DONE]\n\n")


def test_a_completion_as_printed_and_streamed(documents: Product) -> None:
    answer = json.loads(printed(documents, COMPLETION))
    assert (answer["object"], bool(answer["choices"][0]["text"])) == ("text_completion", True)
    streamed = printed(documents, COMPLETION.replace('"max_tokens"', '"stream": true, "max_tokens"'))
    assert streamed.endswith("data: [DONE]\n\n")


def test_embeddings_as_printed(documents: Product) -> None:
    assert len(json.loads(printed(documents, EMBEDDING))["data"][0]["embedding"]) > 1


def test_the_official_client_as_printed(documents: Product) -> None:
    whole, streamed = python(SDK.replace(HOST, documents.url)).split("\n", 1)
    assert whole
    assert streamed


@pytest.mark.parametrize("headers", [{"authorization": "Bearer YOUR_API_KEY"}, {"x-api-key": "YOUR_API_KEY"}])
def test_either_header_carries_the_key(documents: Product, headers: dict[str, str]) -> None:
    assert ask(documents, "/v1/chat/completions", chat(), headers).status_code == 200
    assert httpx.get(f"{documents.url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_every_endpoint_asks_for_one(documents: Product, path: str) -> None:
    assert ask(documents, path, chat(), {}).status_code == 401
    assert httpx.get(f"{documents.url}/v1/models").status_code == 401


def test_whatever_else_a_client_sends_goes_to_the_engine_unchanged(documents: Product) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    choice = {"type": "function", "function": {"name": "f"}}
    options = {"tools": [tool], "tool_choice": choice, "seed": 7, "response_format": {"type": "json_object"}}
    options |= {"logit_bias": {"1": -100}, "top_k": 40, "chat_template_kwargs": {"a": [1.5e3, None]}}
    body = chat(**options)
    reply = ask(documents, "/v1/chat/completions", body)
    assert reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"
    assert json.loads(documents.last_request("smart")["body"]) == body | {"model": "smart"}


def test_an_engine_without_embeddings_is_a_structured_501(documents: Product) -> None:
    reply = ask(documents, "/v1/embeddings", {"model": "on-tgi", "input": "x"})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], bool(error["message"])) == (501, "unsupported", True)


@pytest.mark.parametrize(
    ("body", "status", "category"),
    [
        (chat(model=5), 422, "invalid_request"),
        (chat(messages=[]), 400, "invalid_request"),
        (chat(model="nobody"), 404, "invalid_request"),
        (chat(model="down"), (502, 503), "backend_unreachable"),
        (chat(model="mute"), 504, "backend_timeout"),
    ],
)
def test_our_own_errors_have_a_category_and_words(
    documents: Product, body: dict[str, Any], status: int | tuple[int, ...], category: str
) -> None:
    reply = ask(documents, "/v1/chat/completions", body)
    error = reply.json()["error"]
    assert reply.status_code in (status if isinstance(status, tuple) else (status,))
    assert (error["type"], bool(error["message"])) == (category, True)
    assert reply.headers["x-error-source"] == "gateway"


def test_errors_of_a_backend_pass_through_with_status_and_body(documents: Product) -> None:
    reply = ask(documents, "/v1/chat/completions", chat(model="ill"))
    expected = {"error": {"message": "the script says so", "type": "server_error", "code": 418}}
    assert (reply.status_code, reply.json()) == (418, expected)
    assert reply.headers["x-error-source"] == "backend"
