"""What is not chat, as the official client sees it: through the product, to a scripted engine in a process of its own."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from appliance.domain.calls import Operation
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SOUND = b"RIFF" + b"\x00\xff\r\n" * 40_000


@pytest.fixture(scope="module", params=[False, True], ids=["door", "quart"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    all_kinds = '["chat", "embedding", "rerank", "audio", "moderation", "image"]'
    tables = "\n".join(
        [
            runtime("all", kinds=all_kinds),
            runtime("cut", "--cut-after-tokens", "3", kinds=all_kinds),
            runtime("short", "--truncate-after-tokens", "3", kinds=all_kinds),
            runtime("less", "--lacks", "/v1/responses,/v1/rerank,/v1/audio/speech", kinds=all_kinds),
            '[[models]]\nname = "alias"\ntargets = ["all"]\n',
            '[[models]]\nname = "every"\ntargets = ["all"]\n',
        ]
    )
    with product(tmp_path_factory.mktemp("routes"), tables, http2=request.param) as running:
        running.ready("alias", "cut", "short", "less")
        yield running


@pytest.fixture(scope="module")
def sdk(box: Product) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0, http_client=http) as client:
        yield client


def usage_of(box: Product, kind: str) -> str:
    return next(line for line in box.metrics().splitlines() if f'tokens_total{{model="alias",type="{kind}"}}' in line)


def test_a_response_whole_and_streamed(box: Product, sdk: openai.OpenAI) -> None:
    whole = sdk.responses.create(model="alias", input="Hello there")
    assert whole.status == "completed"
    before = usage_of(box, "output")
    with sdk.responses.stream(model="alias", input="Hello there") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text
    assert final.usage is not None
    assert float(usage_of(box, "output").split()[1]) - float(before.split()[1]) == final.usage.output_tokens


def test_an_agent_calls_a_tool_and_goes_on(sdk: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "The weather in Paris?"}]
    with sdk.responses.stream(model="alias", input=asked, tools=[TOOL], store=False) as stream:
        call: Any = stream.get_final_response().output[0]
    assert (call.type, call.name, set(json.loads(call.arguments))) == ("function_call", "weather", {"city"})
    asked += [call.to_dict(), {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert sdk.responses.create(model="alias", input=asked, tools=[TOOL]).output_text


@pytest.mark.parametrize(("model", "code"), [("cut", "backend_died"), ("short", "stream_truncated")])
def test_half_a_response_never_looks_like_success(sdk: openai.OpenAI, model: str, code: str) -> None:
    stream = sdk.responses.create(model=model, input="x", stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == code


def test_the_error_of_a_response_is_an_event_of_the_api(box: Product) -> None:
    reply = box.post("/v1/responses", {"model": "short", "input": "x", "stream": True})
    events = [event.split("\n") for event in reply.text.rstrip().split("\n\n")]
    said = json.loads(events[-1][1].removeprefix("data: "))
    assert events[-1][0] == "event: error"
    assert (said["type"], said["sequence_number"], said["request_id"]) == (
        "error",
        len(events) - 1,
        reply.headers["x-request-id"],
    )
    assert "[DONE]" not in reply.text


def test_a_rerank_under_every_name(box: Product) -> None:
    body = {"model": "alias", "query": "red car", "documents": ["a dog", "a red car"]}
    paths = ["/v1/rerank", "/api/client/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranking"]
    for path in paths:
        reply = box.post(path, body)
        assert [result["index"] for result in reply.json()["results"]] == [1, 0]
        assert reply.json()["request_id"] == reply.headers["x-request-id"]
        assert reply.headers["x-gateway-target"] == "all"
        assert float(reply.headers["x-gateway-engine-ms"]) > 0


def test_a_recording_becomes_text_in_every_format(sdk: openai.OpenAI) -> None:
    file = ("a.wav", SOUND, "audio/wav")
    text = sdk.audio.transcriptions.create(model="alias", file=file).text
    assert text
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert sdk.audio.translations.create(model="alias", file=file).text == text
    plain: Any = sdk.audio.transcriptions.create(model="alias", file=file, response_format="text")
    assert plain == f"{text}\n"
    events: list[Any] = list(sdk.audio.transcriptions.create(model="alias", file=file, stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]


def test_a_form_with_the_recording_first_as_curl_sends_it(box: Product) -> None:
    files: Any = [("file", ("a.wav", SOUND, "audio/wav")), ("model", (None, "alias"))]
    with box.client() as client:
        reply = client.post(f"{box.url}/v1/audio/transcriptions", files=files, headers=box.headers)
    assert reply.status_code == 200, reply.text


def test_speech_arrives_byte_for_byte(sdk: openai.OpenAI) -> None:
    with sdk.audio.speech.with_streaming_response.create(model="alias", input="Hi", voice="alloy") as reply:
        sound = reply.read()
        assert reply.headers["content-type"] == "audio/wav"
        assert reply.headers["x-request-id"]
    assert sound.startswith(b"RIFF")
    assert len(sound) == 16 + 16 * 32


def test_half_of_the_sound_is_a_broken_connection(box: Product) -> None:
    with pytest.raises(httpx.HTTPError):
        box.post("/v1/audio/speech", {"model": "cut", "input": "Hi", "voice": "alloy"})
    assert box.get("/healthz").status_code == 200
    assert "Traceback" not in box.log.read_text()


def test_moderations_and_images(sdk: openai.OpenAI) -> None:
    assert sdk.moderations.create(model="alias", input="some violence").results[0].flagged
    images = sdk.images.generate(model="alias", prompt="a cat").data
    assert images
    assert images[0].b64_json


def test_tokens_there_and_back(box: Product) -> None:
    for prefix in ("", "/v1", "/api/client/v1"):
        tokens = box.post(f"{prefix}/tokenize", {"model": "alias", "prompt": "a bcd"}).json()["tokens"]
        assert tokens == [1, 3]
        assert box.post(f"{prefix}/detokenize", {"model": "alias", "tokens": tokens}).json()["prompt"] == "x xxx"
    assert box.post("/v1/responses/input_tokens", {"model": "alias", "input": "a b"}).json()["input_tokens"] == 2
    assert box.post("/v1/score", {"model": "alias", "text_1": "a", "text_2": ["b"]}).json()["data"][0]["score"] == 0.5


def good(operation: Operation, model: str) -> dict[str, Any]:
    """Something to send to an operation: a form, or JSON that is good for all of them."""
    if operation.form:
        return {"data": {"model": model}, "files": {"file": ("a.wav", b"RIFF")}}
    texts = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x", "query": "x"}
    return {"json": {"model": model, "documents": ["x"], "tokens": [1], "text_1": "x", "text_2": "x"} | texts}


OPERATIONS = [operation for operation in Operation if not operation.socket]
SPOILT = [b"", b"[]", b'{"model":', b'{"model":"alias","x":NaN}', b'{"model":"alias","x":"\\ud800"}', b"\xff"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bad_input_is_refused_at_either_door_and_good_is_not(box: Product, operation: Operation) -> None:
    with box.client() as client:
        for prefix in ("/v1", "/api/client/v1"):
            url = box.url + prefix + operation.path.removeprefix("/v1")
            for body in [*SPOILT, b'{"model":"alias","x":' + b"[" * 2**21]:
                reply = client.post(url, content=body, headers=box.headers | {"content-type": "application/json"})
                assert reply.status_code in {400, 422}
                assert reply.json()["request_id"] == reply.headers["x-request-id"]
            unknown = client.post(url, **good(operation, "nobody"), headers=box.headers)
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
            fine = client.post(url, **good(operation, "every"), headers=box.headers)
            # The scripted engine cannot count; the product says so.
            assert fine.status_code == (501 if operation is Operation.COUNT_TOKENS else 200), fine.text
            assert box.last_request("all")["path"] == operation.engine_path


def test_changes_hold_from_a_reload_on_and_headers_can_be_switched_off(tmp_path: Path) -> None:
    tables = runtime("m") + '[[models]]\nname = "alias"\ntargets = ["m"]\nforced = { seed = 1 }\n'
    with product(tmp_path, tables, "gateway_headers = false") as running:
        running.ready("alias")

        def seed() -> int:
            reply = running.post("/v1/chat/completions", good(Operation.CHAT, "alias")["json"])
            assert reply.status_code == 200
            assert not [name for name in reply.headers if name.startswith("x-gateway-")]
            number: int = json.loads(running.last_request("m")["body"])["seed"]
            return number

        assert seed() == 1
        running.config.write_text(running.config.read_text().replace("seed = 1", "seed = 2"))
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda: seed() == 2, 20)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "x"}),
        ("/v1/rerank", {"query": "x", "documents": ["x"]}),
        ("/v1/audio/speech", {"input": "x", "voice": "a"}),
    ],
)
def test_an_engine_without_the_route_is_501_and_not_retried(box: Product, path: str, body: dict[str, Any]) -> None:
    reply = box.post(path, body | {"model": "less"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (501, "unsupported")
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-error-source"] == "gateway"
