"""Chat for Gemini's OpenAI-compatible endpoint, whose differences are few and known: requests and whole answers.

Source: its compatibility guide as of November 2026, and what its users report. It refuses members that it does not
know, wants the signature of its thoughts back with each tool call, writes errors as a list, calls the end of an answer
"stop" although it calls tools, and leaves out ids.
"""

import re
import struct
from base64 import b64encode
from typing import Any

import msgspec

from appliance.errors import GatewayError, ProtocolViolation

# What its chat endpoint takes. Whatever else a client sends is left out: it would be refused by name.
_TAKEN = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "n", "stop", "tools", "tool_choice", "parallel_tool_calls"),
        *("response_format", "reasoning_effort", "modalities", "audio", "extra_body"),
    }
)
_EMBEDDING = ("model", "input", "dimensions")
# What Google's documents name for calls that were not made by Gemini, or whose signature was lost on the way.
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_OLD = re.compile(r"(?:models/)?gemini-[12]\b")  # they ask for no signature
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]])
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_ANY = msgspec.json.Decoder()


def chat_request(body: bytes, model: str) -> bytes:
    """A chat request as Gemini takes it.

    Args:
        body: a chat request, checked.
        model: the provider's name for the model.
    """
    members = {name: value for name, value in _MEMBERS.decode(body).items() if name in _TAKEN}
    members["model"] = msgspec.Raw(msgspec.json.encode(model))
    if b"tool_calls" in bytes(members["messages"]) and not _OLD.match(model):
        messages = _MESSAGES.decode(members["messages"])
        for message in messages:
            _sign(message)
        members["messages"] = msgspec.Raw(msgspec.json.encode(messages))
    return msgspec.json.encode(members)


def _sign(message: dict[str, Any]) -> None:
    """Give the first call of a step a signature if it lost its own; the others of the step need none."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and isinstance(calls[0], dict) and "extra_content" not in calls[0]:
        calls[0]["extra_content"] = _UNSIGNED


def embedding_request(body: bytes, model: str) -> bytes:
    """An embedding request as Gemini takes it; the vectors come as numbers.

    Raises:
        GatewayError: `invalid_payload`: it has no texts.
    """
    given = _OBJECT.decode(body)
    members = {name: given[name] for name in _EMBEDDING if given.get(name) is not None}
    texts = [members["input"]] if isinstance(members["input"], str) else members["input"]
    if not all(isinstance(text, str) for text in texts):
        message = "'input' must be a string or an array of strings: Gemini does not know other models' token numbers."
        raise GatewayError("invalid_payload", message, param="input")
    return msgspec.json.encode(members | {"model": model, "encoding_format": "float"})


def wants_base64(body: bytes) -> bool:
    """Whether an embedding request asks for vectors as base64, as OpenAI's own client always does."""
    return bool(_OBJECT.decode(body).get("encoding_format") == "base64")


def embeddings(body: bytes, *, base64: bool) -> bytes:
    """Whole embeddings, with what strict clients need and Gemini may leave out.

    Args:
        body: the answer.
        base64: the vectors as the bytes of little-endian 32-bit floats, in base64.

    Raises:
        ProtocolViolation: these are no embeddings.
    """
    answer = _object(body)
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ProtocolViolation("the answer has no embeddings")
    for index, item in enumerate(data):
        item["object"] = "embedding"
        item.setdefault("index", index)
        vector = item.get("embedding")
        if base64 and isinstance(vector, list):
            try:
                item["embedding"] = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            except (struct.error, OverflowError) as error:
                raise ProtocolViolation("an embedding is not a list of numbers") from error
    answer["object"] = "list"
    if not isinstance(answer.get("usage"), dict):
        answer["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
    return msgspec.json.encode(answer)


def completion(body: bytes, created: int) -> bytes:
    """A whole chat completion, repaired.

    Args:
        body: the answer.
        created: Unix time of the answer.

    Raises:
        ProtocolViolation: it is no JSON object.
    """
    answer = _object(body)
    for choice in choices_of(answer):
        message = choice.get("message")
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list) and calls:
            for number, call in enumerate(calls):
                name_call(call, number)
            if choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "tool_calls"
    answer["object"] = "chat.completion"
    answer["id"] = answer.get("id") or "chatcmpl-gemini"
    answer["created"] = answer.get("created") or created
    return msgspec.json.encode(answer)


def choices_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of an answer or a chunk, as far as they are such."""
    choices = value.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def name_call(call: Any, number: int) -> None:
    """Give a tool call an id and a type, where it has none."""
    if isinstance(call, dict):
        call["id"] = call.get("id") or f"call_{number}"
        call["type"] = "function"


def error(status: int, body: bytes, request_id: str) -> bytes:
    """An error, taken out of its list; the status stays as it is."""
    try:
        value = _ANY.decode(body)
    except (ValueError, RecursionError):
        value = None
    found = plain_error(value)
    found["message"] = found["message"] or f"The provider answered with status {status} and no explanation."
    return msgspec.json.encode({"error": found, "request_id": request_id})


def plain_error(value: Any) -> dict[str, Any]:
    """What an error says, in the members that chat clients look for."""
    if isinstance(value, list):
        value = value[0] if value else None
    inner = value.get("error") if isinstance(value, dict) else None
    if isinstance(inner, str):
        inner = {"message": inner}
    given: dict[str, Any] = inner if isinstance(inner, dict) else {}
    status = given.get("status")
    code = status if isinstance(status, str) else given.get("code")
    kind = status.lower() if isinstance(status, str) else "api_error"
    message = given.get("message")
    return {"message": message if isinstance(message, str) else "", "type": kind, "param": None, "code": code}


def _object(body: bytes) -> dict[str, Any]:
    try:
        return _OBJECT.decode(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the answer is not a JSON object: {error}") from error
