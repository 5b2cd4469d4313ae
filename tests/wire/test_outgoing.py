import json
from typing import Any

import pytest

from appliance.domain.calls import Call, Operation
from appliance.wire.form import parse_form
from appliance.wire.named_request import parse_named
from appliance.wire.openai_request import parse_call
from appliance.wire.outgoing import outgoing_body

CHAT = Operation.CHAT
HELLO = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> Call:
    return parse_call(CHAT, json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def test_a_body_with_nothing_of_ours_in_it_goes_out_as_it_came() -> None:
    body = b'{ "messages" : [ {"role":"user"} ], "model":"m", "seed":1.50e3 }'
    call = parse_call(CHAT, body)
    assert outgoing_body(call, "") is body
    assert outgoing_body(call, "m") is body


def test_every_other_member_passes_byte_for_byte() -> None:
    body = b'{"messages":[ {"role":"user", "x":1.0e2} ],"model":"m","seed":12345678901234567890123,"request_id":"r"}'
    call = parse_call(CHAT, body)
    assert call.request_id == "r"
    expected = b'{"messages":[ {"role":"user", "x":1.0e2} ],"model":"/m.gguf","seed":12345678901234567890123}'
    assert outgoing_body(call, "/m.gguf") == expected


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"continuous_usage_stats": True}])
def test_a_stream_is_always_asked_for_its_usage(options: dict[str, bool] | None) -> None:
    call = chat(stream=True, stream_options=options)
    assert not call.wants_usage
    sent = json.loads(outgoing_body(call, ""))
    assert sent["stream_options"] == (options or {}) | {"include_usage": True}


def test_a_whole_answer_is_not_asked_for_stream_options() -> None:
    assert b"stream_options" not in outgoing_body(chat(), "other")


def test_only_streams_of_chunks_are_asked_for_their_usage() -> None:
    body = b'{"model":"m","input":"x","stream":true}'
    assert outgoing_body(parse_named(Operation.RESPONSES, body), "m") is body
    assert json.loads(outgoing_body(parse_named(Operation.RESPONSES, body), "n")) == {
        "model": "n",
        "input": "x",
        "stream": True,
    }


def test_a_form_is_the_same_but_for_the_name_of_its_model() -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    call = parse_form(Operation.TRANSCRIPTION, body, "multipart/form-data; boundary=b")
    assert outgoing_body(call, "m") is body
    assert outgoing_body(call, "") is body
    assert outgoing_body(call, "whisper") == body.replace(b"\r\nm\r\n", b"\r\nwhisper\r\n")
