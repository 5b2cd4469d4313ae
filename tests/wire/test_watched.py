import json
from typing import Any

import msgspec
import pytest

from appliance.domain.calls import Call, Operation
from appliance.domain.parameters import RULES
from appliance.translate.messages_request import parse_messages
from appliance.wire.named_request import parse_named
from appliance.wire.openai_request import parse_call
from appliance.wire.watched import Usual, elsewhere

HI = [{"role": "user", "content": "hi"}]


def chat(**members: Any) -> Call:
    return parse_call(Operation.CHAT, json.dumps({"model": "m", "messages": HI} | members).encode())


def parts(*given: Any) -> Call:
    return chat(messages=[{"role": "user", "content": list(given)}])


def test_a_usual_request_has_nothing_to_judge() -> None:
    assert chat(temperature=1, seed=3, user="x", tool_choice="auto", n=1, stream=True).watched is None
    assert parts({"type": "text", "text": "hi"}).watched is None


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"media", "stop_sequences", "output_config", "n"}))
@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING])
def test_every_field_of_the_table_is_picked_up(name: str, operation: Operation) -> None:
    body = {"model": "m", "messages": HI, "prompt": "p", "input": "i", name: [1]}
    assert parse_call(operation, json.dumps(body).encode()).watched == {name: b"[1]"}


def test_usual_fields_are_judged_in_the_table_or_harmless() -> None:
    assert {"tools", "response_format", "stop", "logprobs", "top_logprobs"} == set(Usual.__struct_fields__) & set(RULES)


def test_several_at_once_and_in_disguise() -> None:
    assert chat(n=3, stop=["a"], grammar="g", top_logprobs=2).watched == {
        "n": b"3",
        "stop": b'["a"]',
        "grammar": b'"g"',
        "top_logprobs": b"2",
    }
    assert chat(top_logprobs=2).watched == {"top_logprobs": b"2"}
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"\\u0067rammar":"g"}'
    assert parse_call(Operation.CHAT, body).watched == {"grammar": b'"g"'}


def test_the_careful_reading_picks_up_the_same() -> None:
    careful = chat(messages=[{"role": "user", "content": None}], request_id=None, n=4, lora=[1], metadata=None)
    assert careful.watched == {"n": b"4", "lora": b"[1]"}


@pytest.mark.parametrize(
    ("part", "name", "found"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, "", None),
        ({"type": "image_url", "image_url": {"url": "http://x/a.png"}}, "image_url", b'"http://x/a.png"'),
        ({"type": "image_url", "image_url": "file:///x"}, "image_url", b'"file:///x"'),
        ({"type": "image_url", "image_url": {"url": " data:"}}, "image_url", b'" data:"'),
        ({"type": "image_url", "image_url": 5}, "", None),
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, "", None),
        ({"type": "input_audio", "input_audio": {"data": "http://x"}}, "input_audio", b'"http://x"'),
        ({"type": "video_url", "video_url": {"url": "https://x"}}, "video_url", b'"https://x"'),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}, "", None),
        ({"type": "image_embeds", "image_embeds": "AAAA"}, "image_embeds", b"true"),
    ],
)
def test_media_that_is_not_inline(part: Any, name: str, found: bytes | None) -> None:
    expected = None if found is None else {f"messages[0].content[1].{name}": found}
    assert parts({"type": "text", "text": "see"}, part).watched == expected


def test_a_part_that_is_no_object_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError):
        elsewhere(msgspec.Raw(b"[1]"), "x", {})


def test_where_nobody_knows_the_grammar_media_is_found_wherever_it_is() -> None:
    body = {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}],
        "chat_template": "t",
        "instructions": "see http://x for url",
    }
    assert parse_named(Operation.RESPONSES, json.dumps(body).encode()).watched == {
        "chat_template": b'"t"',
        "input[0].content[0].image_url": b'"http://x"',
    }
    assert parse_named(Operation.RESPONSES, b'{"model":"m","input":"x"}').watched is None
    hidden = b'{"model":"m","input":[{"content":[{"\\u0075rl":"http:\\/\\/x"}]}]}'
    assert parse_named(Operation.RESPONSES, hidden).watched == {"input[0].content[0].url": b'"http://x"'}
    deep = b'{"model":"m","input":' + b'[{"url":' * 400 + b'"http://x"' + b"}]" * 400 + b"}"
    assert list((parse_named(Operation.RESPONSES, deep).watched or {}).values()) == [b'"http://x"']


def test_messages_requests_are_judged_by_what_they_become() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://x/a.png"}}
    inline = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [inline, image]}]}
    more = {"stop_sequences": ["a"], "tools": [{"name": "f", "input_schema": {}}]}
    watched = parse_messages(json.dumps(body | more).encode()).watched
    assert watched is not None
    assert watched["messages[0].content[1].source.url"] == b'"http://x/a.png"'
    assert watched["stop_sequences"] == b'["a"]'
    assert b'"name":"f"' in watched["tools"]
    plain = {"model": "m", "max_tokens": 5, "messages": HI}
    assert parse_messages(json.dumps(plain).encode()).watched is None
