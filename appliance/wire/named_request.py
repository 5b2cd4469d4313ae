"""Requests that pass as they are: which model they are for is what matters, and that what they need is there.

One table says what each operation needs; everything else is the engine's business and goes to it byte for byte.
"""

from typing import NamedTuple

import msgspec

from appliance.domain.calls import Call, Operation
from appliance.wire.members import (
    absent,
    check_count,
    check_number,
    first_byte,
    flag,
    model_name,
    read_json,
    request_id_of,
    require,
    wrong,
)
from appliance.wire.watched import walked


class _Need(NamedTuple):
    """A member that must be there.

    Attributes:
        starts: first bytes of the JSON values that it may have.
        expected: the same in words.
        unless: members that can stand in its place.
    """

    name: str
    starts: bytes
    expected: str
    unless: tuple[str, ...] = ()


class _Body(msgspec.Struct):
    """The members that we look at, undecoded; empty when absent."""

    model: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    conversation: msgspec.Raw = msgspec.Raw()
    previous_response_id: msgspec.Raw = msgspec.Raw()
    temperature: msgspec.Raw = msgspec.Raw()
    top_p: msgspec.Raw = msgspec.Raw()
    max_output_tokens: msgspec.Raw = msgspec.Raw()
    query: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    tokens: msgspec.Raw = msgspec.Raw()


_STRING = (b'"', "a string")
_STRINGS = (b'"[', "a string or an array")
_ITEMS = _Need("input", *_STRINGS, ("prompt", "conversation", "previous_response_id"))
_NEEDS: dict[Operation, tuple[_Need, ...]] = {
    Operation.RESPONSES: (_ITEMS,),
    Operation.RESPONSE_TOKENS: (_ITEMS,),
    # Some engines take a question or documents with images, which are objects.
    Operation.RERANK: (
        _Need("query", b'"{', "a string or an object"),
        _Need("documents", b"[{", "an array of documents"),
    ),
    Operation.SCORE: (),
    Operation.SPEECH: (_Need("input", *_STRING),),
    Operation.MODERATION: (_Need("input", *_STRINGS),),
    Operation.IMAGE: (_Need("prompt", *_STRING),),
    Operation.TOKENIZE: (),  # vLLM wants `prompt` or `messages`, llama-server `content`
    Operation.DETOKENIZE: (_Need("tokens", b"[", "an array of token numbers"),),
}
_BODY = msgspec.json.Decoder(_Body)


def parse_named(operation: Operation, body: bytes) -> Call:
    """Read a request of one of the operations that pass as they are.

    Raises:
        GatewayError: `missing_required_parameter` or `invalid_payload`, with `param` naming the field.
    """
    fields = read_json(body, _BODY)
    model = model_name(fields.model)
    for need in _NEEDS[operation]:
        _check(need, fields)
    request_id = request_id_of(fields.request_id)
    check_number(fields.temperature, "temperature", 2)
    check_number(fields.top_p, "top_p", 1)
    most = check_count(fields.max_output_tokens, "max_output_tokens")
    stream = flag(fields.stream, "stream")
    appendable = not len(fields.request_id)
    return Call(
        operation,
        model,
        body,
        stream,
        request_id=request_id,
        most_output=most,
        appendable=appendable,
        watched=walked(body),
    )


def _check(need: _Need, fields: _Body) -> None:
    value: msgspec.Raw = getattr(fields, need.name)
    if absent(value) and any(not absent(getattr(fields, name)) for name in need.unless):
        return
    require(value, need.name)
    if first_byte(value) not in need.starts:
        raise wrong(need.name, need.expected)
