"""Anthropic Messages through the official SDK, from scripted engines: what a small real model cannot be made to do."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ASK: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
OBJECT = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [
    {"name": "weather", "description": "of a city", "input_schema": OBJECT},
    {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module", params=["door", "quart"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Once through the door, and once over HTTP/2, which is Quart; that one speaks TLS too."""
    tables = "\n".join(
        [
            runtime("m", "--calls", "2"),
            runtime("llama", "--thinks"),
            runtime("vllm", "--thinks", "--style", "vllm"),
            runtime("cut", "--cut-after-tokens", "2"),
            runtime("fails", "--error-event-after", "2"),
            runtime("ill", "--status", "500"),
            runtime("pauses", "--stall-after-tokens", "2"),
            runtime("never", "--load-seconds", "600", extra='start = "on-demand"'),
            '[[models]]\nname = "m"\nkind = "chat"\ntargets = ["m"]\n',
            '[[models]]\nname = "basics-chat-smart"\nkind = "chat"\ntargets = ["m"]\ndefault = true\n',
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables, "load_wait = '1s'", http2=request.param == "quart") as running:
        running.ready("m", "llama", "vllm", "cut", "fails", "ill", "pauses")
        yield running


@pytest.fixture
def client(box: Product) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    with anthropic.Anthropic(base_url=box.url, api_key=KEY, max_retries=0, http_client=http) as sdk:
        yield sdk


def both_ways(client: anthropic.Anthropic, **options: Any) -> Any:
    """The message, asked for whole and as a stream, which must agree."""
    asked = ASK | options
    message = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in message.content]
    assert (streamed.stop_reason, streamed.stop_sequence) == (message.stop_reason, message.stop_sequence)
    assert streamed.usage.output_tokens == message.usage.output_tokens
    return message


def test_a_message_whole_and_streamed(client: anthropic.Anthropic) -> None:
    message = both_ways(client)
    assert (message.role, message.type, message.stop_reason) == ("assistant", "message", "end_turn")
    assert message.content[0].text
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 32)
    assert message._request_id.startswith("req_")


def test_every_event_of_a_stream_is_the_one_that_the_sdk_expects(client: anthropic.Anthropic) -> None:
    kinds = [event.type for event in client.messages.create(**ASK | {"stream": True, "max_tokens": 3})]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_max_tokens_is_why_an_answer_ended(client: anthropic.Anthropic) -> None:
    message = both_ways(client, max_tokens=3)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_a_stop_sequence_ends_the_answer_and_vllm_says_which(client: anthropic.Anthropic) -> None:
    word = client.messages.create(**ASK).content[0].text.split()[4]
    assert word not in both_ways(client, stop_sequences=["no such", word]).content[0].text
    message = both_ways(client, model="vllm", stop_sequences=["no such", word])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)


def test_the_system_prompt_may_stand_in_both_places(client: anthropic.Anthropic) -> None:
    turns = [{"role": "system", "content": "One two."}, *ASK["messages"]]
    assert both_ways(client, messages=turns).usage.input_tokens == 3
    assert both_ways(client, system="One two three.").usage.input_tokens == 4
    blocks = [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}},
    ]
    assert both_ways(client, system=blocks).usage.input_tokens == 3


@pytest.mark.parametrize("model", ["llama", "vllm"])
def test_thoughts_of_either_engine_are_a_block_of_their_own(client: anthropic.Anthropic, model: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = both_ways(client, model=model, thinking=thinking, max_tokens=2048)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking
    assert message.content[0].signature
    again = [*ASK["messages"], {"role": "assistant", "content": message.content}, {"role": "user", "content": "more"}]
    assert both_ways(client, model=model, messages=again, thinking=thinking, max_tokens=2048).content[1].text


def test_parallel_tool_calls_and_their_results(client: anthropic.Anthropic) -> None:
    message = both_ways(client, tools=TOOLS)
    assert message.stop_reason == "tool_use"
    calls = message.content
    assert [(call.type, call.name) for call in calls] == [("tool_use", "weather"), ("tool_use", "clock")]
    assert isinstance(calls[0].input["city"], str)
    assert isinstance(calls[0].input["days"], int)
    assert calls[1].input == {}
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    turns = [*ASK["messages"], {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    assert both_ways(client, tools=TOOLS, messages=turns).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "tool", "name": "clock"}, ["clock"]),
        ({"type": "any", "disable_parallel_tool_use": True}, ["weather"]),
        ({"type": "auto"}, ["weather", "clock"]),
        ({"type": "none"}, []),
    ],
)
def test_every_tool_choice(client: anthropic.Anthropic, choice: dict[str, str], names: list[str]) -> None:
    message = both_ways(client, tools=TOOLS, tool_choice=choice)
    assert [block.name for block in message.content if block.type == "tool_use"] == names


def test_an_image_is_taken(client: anthropic.Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    turn = {"role": "user", "content": [image, {"type": "text", "text": "what is this"}]}
    assert both_ways(client, messages=[turn]).usage.input_tokens == 3


def test_no_model_is_the_default_one(box: Product) -> None:
    reply = box.post("/v1/messages", {"messages": ASK["messages"]})
    assert reply.status_code == 200
    assert reply.headers["x-gateway-model"] == "basics-chat-smart"


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", None])
@pytest.mark.parametrize("scheme", ["authorization", "x-api-key"])
@pytest.mark.parametrize("prefix", ["", "/api/client"])
def test_both_keys_and_all_versions(box: Product, scheme: str, version: str | None, prefix: str) -> None:
    headers = {scheme: f"Bearer {KEY}" if scheme == "authorization" else KEY}
    headers |= {"anthropic-version": version} if version else {}
    with box.client() as http:
        reply = http.post(f"{box.url}{prefix}/v1/messages?beta=true", json=ASK, headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["request-id"] == reply.headers["x-request-id"]


def test_errors_before_the_first_byte_are_the_sdks_own_classes(client: anthropic.Anthropic) -> None:
    def refused(kind: type[anthropic.APIStatusError], **options: Any) -> Any:
        for stream in (False, True):
            with pytest.raises(kind) as caught:
                client.messages.create(**ASK | options | {"stream": stream})
        body: Any = caught.value.body
        assert body["type"] == "error"
        assert caught.value.request_id == body["request_id"]
        return body["error"]

    assert refused(anthropic.NotFoundError, model="nope")["type"] == "not_found_error"
    assert refused(anthropic.UnprocessableEntityError, stop_sequences="x")["param"] == "stop_sequences"
    assert refused(anthropic.BadRequestError, messages=[])["code"] == "missing_required_parameter"
    assert refused(anthropic.InternalServerError, model="ill")["message"] == "the script says so"
    loading = refused(anthropic.ServiceUnavailableError, model="never")
    assert (loading["type"], loading["code"]) == ("overloaded_error", "model_loading")
    with pytest.raises(anthropic.AuthenticationError), client.with_options(api_key="sk-wrong") as stranger:
        stranger.messages.create(**ASK)


@pytest.mark.parametrize(("model", "words"), [("cut", "broke the connection"), ("fails", "the script says so")])
def test_errors_after_the_first_byte_are_raised_too(client: anthropic.Anthropic, model: str, words: str) -> None:
    heard: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match=words) as caught:
        heard.extend(event.type for event in client.messages.create(**ASK | {"model": model, "stream": True}))
    assert caught.value.type == "api_error"
    assert heard[0] == "message_start"
    assert heard[-1] == "content_block_stop"


def test_the_models_list_is_one_that_the_sdk_reads(client: anthropic.Anthropic) -> None:
    names = {model.id for model in client.models.list()}
    assert {"m", "vllm", "basics-chat-smart"} <= names
    assert client.models.retrieve("m").display_name


def test_a_client_that_leaves_stops_the_engine(box: Product) -> None:
    with (
        box.client() as http,
        http.stream(
            "POST", f"{box.url}/v1/messages", json=ASK | {"model": "pauses", "stream": True}, headers=box.headers
        ) as reply,
    ):
        next(reply.iter_lines())

    def idle() -> bool:
        return 'appliance_requests_in_flight{model="pauses"} 0' in box.metrics().replace(".0", "")

    box.until(idle, 5)
