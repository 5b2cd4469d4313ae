"""What the official client relies on and raw clients see: order, shape and absence of fields, errors, retries, roles."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.house import KEYS
from tests.fakes.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
KEY = KEYS["plain"]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def sdk(documents: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{documents.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def ask(box: Product, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(
        f"{box.url}{path}", json={"model": "gpt-4", "messages": HELLO} | body, headers=headers, timeout=30
    )


def engines_own(box: Product, runtime: str, body: dict[str, Any]) -> bytes:
    """What the engine itself answers, over its own socket."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=box.socket_of(runtime))) as engine:
        return engine.post("http://x/v1/chat/completions", json=body).content


@pytest.mark.parametrize("options", [{}, {"tools": [TOOL]}, {"max_tokens": 1}])
def test_a_stream_is_the_engines_own_byte_for_byte(documents: Product, options: dict[str, Any]) -> None:
    shown = {"stream": True, "stream_options": {"include_usage": True}}
    own = engines_own(documents, "smart", {"model": "smart", "messages": HELLO} | shown | options)
    assert ask(documents, shown | options).content == own
    *events, usage, done = own.split(b"\n\n")[:-1]
    assert b'"choices":[]' in usage
    hidden = ask(documents, {"stream": True} | options)
    assert hidden.content == b"\n\n".join([*events, done, b""])


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
def test_who_did_not_ask_for_usage_sees_none(documents: Product, options: object) -> None:
    assert '"usage"' not in ask(documents, {"stream": True, "stream_options": options}).text


def test_a_stream_has_the_headers_that_proxies_need_and_none_that_stop_it(documents: Product) -> None:
    headers = ask(documents, {"stream": True}).headers
    assert headers["content-type"] == "text/event-stream"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
    assert not {"content-length", "content-encoding", "server"} & set(headers)


def test_a_stream_has_data_lines_alone(documents: Product) -> None:
    lines = ask(documents, {"stream": True, "tools": [TOOL]}).text.split("\n")
    assert {line.partition(":")[0] for line in lines} == {"data", ""}


def test_parts_of_a_tool_call_are_put_together_by_the_client(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model="gpt-4", messages=HELLO, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.role == "assistant"
    assert message.tool_calls
    call = message.tool_calls[0]
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("weather", {"city"})
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_every_role_goes_to_the_engine_as_it_is(documents: Product, role: str) -> None:
    message = {"role": role, "content": "x", "name": "n", "tool_call_id": "c"}
    assert ask(documents, {"messages": [*HELLO, message]}).status_code == 200
    assert json.loads(documents.last_request("smart")["body"])["messages"] == [*HELLO, message]


@pytest.mark.parametrize(
    "content", [None, "x", [], [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "input_audio"}]]
)
def test_every_kind_of_content_goes_to_the_engine_as_it_is(documents: Product, content: object) -> None:
    message = {"role": "assistant", "content": content, "tool_calls": [{"id": "c"}]}
    assert ask(documents, {"messages": [*HELLO, message]}).status_code == 200
    assert json.loads(documents.last_request("smart")["body"])["messages"][1] == message


def test_options_go_to_the_engine_as_they_were_written(documents: Product) -> None:
    body = (
        '{"model":"smart","messages":[{"role":"user","content":"x"}],"n":2,"logprobs":true,"top_logprobs":3,'
        '"seed":12345678901234567890,"logit_bias":{"50256":-100},"response_format":{"type":"json_schema",'
        '"json_schema":{"name":"o","schema":{"const":1.50e3}}},"reasoning_effort":"low","verbosity":"\\u00e9"}'
    )
    headers = {"authorization": f"Bearer {KEY}"}
    plain = body.replace("smart", "gpt-4")
    assert httpx.post(f"{documents.url}/v1/chat/completions", content=plain, headers=headers).status_code == 200
    assert documents.last_request("smart")["body"] == body


def test_engines_see_an_id_of_ours_and_no_credential_of_the_clients(documents: Product) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-request-id": "mine", "cookie": "c=1"}
    body = {"model": "gpt-4", "messages": HELLO, "request_id": "theirs"}
    reply = httpx.post(f"{documents.url}/v1/chat/completions", json=body, headers=headers)
    assert reply.headers["x-request-id"] == reply.headers["request-id"] == reply.json()["request_id"] == "theirs"
    asked = documents.last_request("smart")
    sent = dict(asked["headers"])
    assert len(sent["x-request-id"]) == 32
    assert KEY not in json.dumps(asked)
    assert not {"x-api-key", "cookie"} & set(sent)
    assert "theirs" not in json.dumps(asked)
    assert "mine" not in json.dumps(asked)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/chat/completions", "GET", 405),
        ("/v1/nothing", "POST", 404),
        ("/api/client/v1/nothing", "GET", 404),
        ("/v1/models/nobody", "GET", 404),
        ("/healthz", "GET", 200),
        ("/metrics", "GET", 200),
        ("/v1/models", "GET", 200),
        ("/v1/models/Qwen%2FQwen2.5-7B-Instruct", "GET", 200),
        ("/v1/models/Qwen/Qwen2.5-7B-Instruct", "GET", 200),
    ],
)
def test_every_answer_has_its_id_and_is_json(documents: Product, path: str, method: str, status: int) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "mine"}
    reply = httpx.request(method, f"{documents.url}{path}", headers=headers)
    assert (reply.status_code, reply.headers["x-request-id"], reply.headers["request-id"]) == (status, "mine", "mine")
    if status >= 400:
        assert reply.json()["error"]["message"]
        assert reply.json()["request_id"] == "mine"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nobody", openai.NotFoundError),
        ("basics-embed-small", openai.UnprocessableEntityError),
        ("mute", openai.InternalServerError),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    documents: Product, model: str, error: type[openai.APIStatusError]
) -> None:
    def tries() -> float:
        lines = [line for line in documents.metrics().splitlines() if line.startswith("appliance_http_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'route="/v1/chat/completions"' in line)

    before = tries()
    with openai.OpenAI(base_url=f"{documents.url}/v1", api_key=KEY) as client, pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert tries() - before == 1
    assert caught.value.request_id
    assert caught.value.code


def test_embeddings_without_an_engine_for_them_are_not_tried_again(documents: Product) -> None:
    with (
        openai.OpenAI(base_url=f"{documents.url}/v1", api_key=KEY) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.embeddings.create(model="on-tgi", input="x")
    assert (caught.value.status_code, caught.value.code) == (501, "unsupported")
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_wish_for_base64_reaches_the_engine(documents: Product, sdk: openai.OpenAI) -> None:
    vector = sdk.embeddings.create(model="basics-embed-small", input=["x"]).data[0].embedding
    assert all(isinstance(number, float) for number in vector)
    assert json.loads(documents.last_request("text-embedding-3-small")["body"])["encoding_format"] == "base64"
