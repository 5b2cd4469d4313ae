import base64
import json
import struct
from typing import Any

import pytest

from appliance.errors import GatewayError, ProtocolViolation
from appliance.translate import gemini

HELLO = {"role": "user", "content": "Hello!"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REFUSED = b"""[{
  "error": {
    "code": 400,
    "message": "API key not valid. Please pass a valid API key.",
    "status": "INVALID_ARGUMENT"
  }
}
]"""


def asked(*messages: dict[str, Any], model: str = "gemini-3-flash", **members: Any) -> Any:
    body = {"model": "x", "messages": list(messages) or [HELLO], **members}
    return json.loads(gemini.chat_request(json.dumps(body).encode(), model))


def test_what_it_would_refuse_by_name_is_left_out() -> None:
    kept: dict[str, Any] = {
        "temperature": 0.5,
        "tools": [],
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    }
    dropped: dict[str, Any] = {
        "seed": 1,
        "frequency_penalty": 1,
        "top_k": 5,
        "cache_prompt": True,
        "user": "u",
        "request_id": "r",
    }
    assert asked(**kept, **dropped) == kept | {"model": "gemini-3-flash", "messages": [HELLO]}


def test_the_signature_of_a_call_goes_back_as_it_came() -> None:
    signed = CALL | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    assert asked(HELLO, {"role": "assistant", "tool_calls": [signed]})["messages"][1]["tool_calls"] == [signed]


def test_a_call_that_lost_its_signature_says_so_and_only_the_first_of_a_step_needs_one() -> None:
    calls = asked(HELLO, {"role": "assistant", "tool_calls": [CALL, CALL]})["messages"][1]["tool_calls"]
    assert calls[0]["extra_content"]["google"]["thought_signature"] == "skip_thought_signature_validator"
    assert calls[1] == CALL


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "models/gemini-1.5-pro"])
def test_older_models_want_no_signature(model: str) -> None:
    assert asked(HELLO, {"role": "assistant", "tool_calls": [CALL]}, model=model)["messages"][1]["tool_calls"] == [CALL]


def test_a_whole_answer_gets_what_the_sdks_need() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"id": "own", "function": {"name": "g"}}]
    answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "tool_calls": calls}}]}
    repaired = json.loads(gemini.completion(json.dumps(answer).encode(), 1_700_000_000))
    assert (repaired["object"], repaired["created"]) == ("chat.completion", 1_700_000_000)
    assert repaired["id"]
    choice = repaired["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["call_0", "own"]
    assert {call["type"] for call in choice["message"]["tool_calls"]} == {"function"}


def test_a_whole_answer_with_everything_stays_as_it_is() -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
    answer = {"id": "x", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice]}
    assert json.loads(gemini.completion(json.dumps(answer).encode(), 9)) == answer


@pytest.mark.parametrize("body", [b"", b"[]", b"x", b"[" * 10**5])
def test_what_is_no_answer_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        gemini.completion(body, 0)
    with pytest.raises(ProtocolViolation):
        gemini.embeddings(body, base64=False)


def test_an_error_comes_out_of_its_list() -> None:
    assert json.loads(gemini.error(400, REFUSED, "req_1")) == {
        "error": {
            "message": "API key not valid. Please pass a valid API key.",
            "type": "invalid_argument",
            "param": None,
            "code": "INVALID_ARGUMENT",
        },
        "request_id": "req_1",
    }


@pytest.mark.parametrize("body", [b"", b"[]", b"[5]", b"<html>", b'{"error":null}', b"null"])
def test_an_error_without_words(body: bytes) -> None:
    assert "status 503" in json.loads(gemini.error(503, body, "r"))["error"]["message"]


def test_an_error_that_is_text() -> None:
    assert json.loads(gemini.error(400, b'{"error":"no"}', "r"))["error"]["message"] == "no"


def embed(**members: Any) -> Any:
    body = json.dumps({"model": "x", "input": "a"} | members).encode()
    return json.loads(gemini.embedding_request(body, "gemini-embedding-001"))


def test_embeddings_are_asked_for_as_numbers() -> None:
    assert embed(encoding_format="base64", dimensions=64, user="u") == {
        "model": "gemini-embedding-001",
        "input": "a",
        "dimensions": 64,
        "encoding_format": "float",
    }
    assert embed(input=["a", "b"])["input"] == ["a", "b"]


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_token_numbers_of_other_models_mean_nothing_to_it(tokens: object) -> None:
    with pytest.raises(GatewayError) as caught:
        embed(input=tokens)
    assert (caught.value.code, caught.value.param) == ("invalid_payload", "input")


def test_whether_base64_is_wanted() -> None:
    assert gemini.wants_base64(b'{"encoding_format":"base64"}')
    assert not gemini.wants_base64(b'{"encoding_format":"float"}')
    assert not gemini.wants_base64(b"{}")


def test_embeddings_get_what_strict_clients_need() -> None:
    body = b'{"data":[{"embedding":[0.5,-1]},{"embedding":[2]}],"model":"gemini-embedding-001"}'
    assert json.loads(gemini.embeddings(body, base64=False)) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [2]},
        ],
        "model": "gemini-embedding-001",
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


def test_vectors_as_base64() -> None:
    answer = json.loads(gemini.embeddings(b'{"data":[{"embedding":[0.5,-1]}]}', base64=True))
    assert struct.unpack("<2f", base64.b64decode(answer["data"][0]["embedding"])) == (0.5, -1.0)


@pytest.mark.parametrize("body", [b"{}", b'{"data":5}', b'{"data":[5]}', b'{"data":[{"embedding":["x"]}]}'])
def test_what_are_no_embeddings_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        gemini.embeddings(body, base64=True)
