"""What gateways and engines have got wrong for clients of theirs, each tried with the official clients."""

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.fakes.product import KEY, Product, product
from tests.fakes.spoilt import Spoilt, spoilt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
STOP = {"delta": {}, "finish_reason": "stop"}
CALLS = {"delta": {}, "finish_reason": "tool_calls"}


def event(choice: dict[str, Any], **more: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [{"index": 0, "finish_reason": None} | choice] if choice else []
    return b"data: %b\n\n" % json.dumps(chunk | {"choices": choices} | more, ensure_ascii=False).encode()


def text(words: str) -> bytes:
    return event({"delta": {"content": words}})


def call(index: int | None, arguments: str, **more: Any) -> bytes:
    part = {"function": {"arguments": arguments} | ({"name": more["name"]} if "name" in more else {})}
    part |= {name: more[name] for name in ("id", "type") if name in more}
    return event({"delta": {"tool_calls": [part if index is None else part | {"index": index}]}})


DONE = b"data: [DONE]\n\n"
ROLE = event({"delta": {"role": "assistant", "content": ""}})
USAGE = event({}, usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
END = event(STOP) + USAGE + DONE
GOOD = {
    "an-id-once": b"id: 1\n" + ROLE + text("Hi ") + b": ping\n\n" + text("there") + END,
    "a-time-to-reconnect": b"retry: 10\n\n" + ROLE + text("Hi ") + b"retry: 5\n" + text("there") + END,
    "signs-of-life-as-empty-data": ROLE + b"data:\n\n" + text("Hi ") + b"data: \n\n" + text("there") + END,
    "comments": b": processing\n\n" + ROLE + b":\n\n" + text("Hi ") + b": a\n" + text("there") + END,
    "the-role-in-each": b"".join(event({"delta": {"role": "assistant", "content": word}}) for word in ("Hi ", "there"))
    + END,
    "carriage-returns": (ROLE + text("Hi ") + text("there") + END).replace(b"\n", b"\r\n"),
    "no-closing-mark": ROLE + text("Hi ") + text("there") + event(STOP) + USAGE,
}
TOOLS = {
    "ids-and-names-in-each-part": b"".join(call(0, part, id="a", name="f", type="function") for part in ('{"x"', ":1}"))
    + b"".join(call(1, part, id="b", name="g", type="function") for part in ("{", "}")),
    "no-index": call(None, '{"x":1}', id="a", name="f") + call(None, "{}", id="b", name="g"),
    "always-index-0": call(0, '{"x":1}', id="a", name="f") + call(0, "{}", id="b", name="g"),
    "no-arguments": call(0, '{"x":1}', id="a", name="f") + call(1, "", id="b", name="g"),
}
BAD = {
    "cut": ROLE + text("Hi"),
    "cut-in-an-event": ROLE + text("Hi") + b'data: {"choi',
    "an-error-of-the-engine": ROLE + text("Hi") + b'data: {"error":{"message":"out of memory","code":500}}\n\n' + DONE,
    "llama-servers-error": ROLE + text("Hi") + b'event: error\ndata: {"error":{"code":500,"message":"x"}}\n\n' + DONE,
    "a-bare-error": ROLE + text("Hi") + b'data: {"error":"out of memory"}\n\n',
    "nothing-but-the-end": DONE,
}
LATIN = "Grüße, 世界 🦙🏽 "


@pytest.fixture(scope="module")
def engine() -> Iterator[Spoilt]:
    with spoilt() as script:
        script.streams = GOOD | {name: ROLE + body + event(CALLS) + USAGE + DONE for name, body in TOOLS.items()} | BAD
        for name in ("reasoning", "reasoning_content"):
            thought = event({"delta": {name: "Hm. "}}) + event({"delta": {name: "Yes."}})
            script.streams[name] = ROLE + thought + text("Hi ") + text("there") + END
        script.streams["letters"] = ROLE + b"".join(text(letter) for letter in LATIN) + END
        script.refusals = {"ill": 500, "unable": 501, "busy": 429}
        yield script


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, engine: Spoilt) -> Iterator[Product]:
    backend = f'[[backends]]\nname = "spoilt"\nengine = "openai"\nurl = "{engine.url}"\n'
    names = [*engine.streams, *engine.refusals]
    models = "".join(f'[[models]]\nname = "{name}"\nkind = "chat"\ntargets = ["spoilt/{name}"]\n' for name in names)
    with product(tmp_path_factory.mktemp("p"), backend + models, "circuit_failures = 0") as running:
        running.ready("cut")
        yield running


@pytest.fixture(autouse=True)
def unasked(engine: Spoilt) -> None:
    engine.asked.clear()
    engine.piece, engine.idle = 0, None


@pytest.fixture
def chats(box: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def talks(box: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=box.url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def raw(box: Product, path: str, name: str) -> bytes:
    body = {"model": name, "messages": HELLO, "stream": True, "max_tokens": 50}
    return box.post(path, body).content


def words(chats: openai.OpenAI, name: str) -> str:
    stream = chats.chat.completions.create(model=name, messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def message(talks: anthropic.Anthropic, name: str) -> anthropic.types.Message:
    with talks.messages.stream(model=name, messages=HELLO, max_tokens=50) as stream:
        return stream.get_final_message()


def sound(events: bytes) -> list[str]:
    """The types of a Messages stream's events, which break no rule that its clients rely on."""
    kinds: list[str] = []
    begun: list[str] = []
    open_block: int | None = None
    for block in events.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        kind = name.removeprefix("event: ")
        assert kind == value["type"], "an event without its name is dropped in silence"
        kinds.append(kind)
        if kind == "message_start":
            assert {"input_tokens", "output_tokens"} <= set(value["message"]["usage"])
        elif kind == "content_block_start":
            assert open_block is None
            assert value["index"] == len(begun), "blocks are numbered from 0 without a gap"
            open_block = value["index"]
            begun.append(value["content_block"]["type"])
            assert begun[-1] != "tool_use" or value["content_block"]["input"] == {}
        elif kind == "content_block_delta":
            assert value["index"] == open_block
            fitting = {"text": {"text_delta"}, "thinking": {"thinking_delta", "signature_delta"}}
            assert value["delta"]["type"] in fitting.get(begun[-1], {"input_json_delta"})
        elif kind == "content_block_stop":
            assert value["index"] == open_block, "a block that is stopped twice runs its tool twice"
            open_block = None
        elif kind == "message_delta":
            assert "output_tokens" in value["usage"]
        elif kind == "error":
            assert isinstance(value["error"]["type"], str)
    assert open_block is None
    return kinds


@pytest.mark.parametrize("name", GOOD)
def test_whatever_an_engine_puts_between_its_chunks_both_clients_hear_the_words(
    box: Product, chats: openai.OpenAI, talks: anthropic.Anthropic, name: str
) -> None:
    assert words(chats, name) == "Hi there"
    said = message(talks, name)
    assert [block.type for block in said.content] == ["text"]
    assert said.content[0].text == "Hi there"  # type: ignore[union-attr]
    assert (said.stop_reason, said.usage.input_tokens, said.usage.output_tokens) == ("end_turn", 3, 2)
    assert sound(raw(box, "/v1/messages", name))[-1] == "message_stop"
    lines = raw(box, "/v1/chat/completions", name).splitlines()
    assert lines[-2:] == [b"data: [DONE]", b""]
    assert not [line for line in lines if line.startswith(b"data: :") or line in {b"data:", b"data: "}]


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_letters_of_several_bytes_and_lines_may_be_cut_anywhere(
    engine: Spoilt, chats: openai.OpenAI, talks: anthropic.Anthropic, piece: int
) -> None:
    engine.piece = piece
    assert words(chats, "letters") == LATIN
    assert message(talks, "letters").content[0].text == LATIN  # type: ignore[union-attr]
    assert words(chats, "carriage-returns") == "Hi there"


@pytest.mark.parametrize("name", TOOLS)
def test_parallel_calls_are_two_calls_however_their_parts_are_marked(
    box: Product, talks: anthropic.Anthropic, name: str
) -> None:
    said = message(talks, name)
    assert said.stop_reason == "tool_use"
    assert [(block.name, block.input) for block in said.content if block.type == "tool_use"] == [
        ("f", {"x": 1}),
        ("g", {}),
    ]
    sound(raw(box, "/v1/messages", name))
    shown = ROLE + TOOLS[name] + event(CALLS) + DONE
    assert raw(box, "/v1/chat/completions", name) == shown, "OpenAI's clients get the engine's own parts"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_under_either_name_are_a_block_of_their_own(
    box: Product, talks: anthropic.Anthropic, name: str
) -> None:
    said = message(talks, name)
    assert [block.type for block in said.content] == ["thinking", "text"]
    assert said.content[0].thinking == "Hm. Yes."  # type: ignore[union-attr]
    sound(raw(box, "/v1/messages", name))


@pytest.mark.parametrize("name", BAD)
def test_a_broken_stream_never_looks_like_success(
    box: Product, chats: openai.OpenAI, talks: anthropic.Anthropic, name: str
) -> None:
    with pytest.raises(openai.APIError):
        words(chats, name)
    with pytest.raises(anthropic.APIStatusError) as caught:
        message(talks, name)
    assert caught.value.type
    assert b"[DONE]" not in raw(box, "/v1/chat/completions", name)
    if name != "nothing-but-the-end":  # which is told with a real status
        assert sound(raw(box, "/v1/messages", name))[-1] == "error"


@pytest.mark.parametrize(("name", "tries"), [("ill", 3), ("unable", 1)])
def test_one_try_of_a_client_is_one_request_to_the_engine(box: Product, engine: Spoilt, name: str, tries: int) -> None:
    """Three of a client times three of a gateway would be nine; and what will never work is tried once."""
    sdk = openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=2)
    with sdk as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=name, messages=HELLO)
    assert len(engine.asked) == tries


def test_an_engine_sees_no_id_that_a_client_chose(box: Product, engine: Spoilt) -> None:
    body = {"model": "comments", "messages": HELLO, "request_id": "mine-1"}
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "mine-1"}
    reply = httpx.post(f"{box.url}/v1/chat/completions", json=body, headers=headers)
    assert reply.headers["x-request-id"] == "mine-1"
    ((_, sent, asked),) = engine.asked
    assert "mine-1" not in sent.values()
    assert "request_id" not in asked


def test_a_connection_that_the_engine_has_closed_meanwhile_costs_nobody_a_request(
    engine: Spoilt, chats: openai.OpenAI
) -> None:
    engine.idle = 0.05
    for _ in range(4):
        assert chats.chat.completions.create(model="comments", messages=HELLO).choices[0].message.content == "whole"
        time.sleep(0.15)
    assert len(engine.asked) == 4


def test_a_stream_is_neither_packed_nor_measured_and_proxies_are_asked_not_to_keep_it(box: Product) -> None:
    body = {"model": "comments", "messages": HELLO, "stream": True}
    headers = {"authorization": f"Bearer {KEY}", "accept-encoding": "gzip, br, zstd"}
    reply = httpx.post(f"{box.url}/v1/chat/completions", json=body, headers=headers)
    assert "content-encoding" not in reply.headers
    assert "content-length" not in reply.headers
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["cache-control"] == "no-cache"
