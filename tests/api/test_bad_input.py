"""Bad input on every route that takes any: the documented error, an engine that never sees it, nobody held up.

The tables name every operation, and a test holds them and the operations together: a new route cannot be forgotten.
"""

import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from appliance.domain.calls import Operation
from tests.fakes.path import Path, header

LIMIT = 0.5  # seconds of our own work; a tenth is what everybody else may have to wait, and the machine is shared
TEN_MB = 10 * 2**20
HELLO = [{"role": "user", "content": "Hi"}]
GENERATION: dict[str, tuple[object, ...]] = {
    "stream": ("yes", 1),
    "temperature": (-1, 2.5, "hot", True),
    "top_p": (-1, 2, "x"),
    "max_tokens": (-1, 1.5, "many"),
    "request_id": ("", "a b", 5, "x" * 129),
}
# operation -> (a good body, wrong values of its members)
TABLE: dict[Operation, tuple[dict[str, Any], dict[str, tuple[object, ...]]]] = {
    Operation.CHAT: (
        {"messages": HELLO},
        GENERATION | {"messages": ("x", {}, [5], [{}], [{"role": "x"}], [{"role": "user", "content": 5}])},
    ),
    Operation.COMPLETION: ({"prompt": "x"}, GENERATION | {"prompt": (5, {}, [{}], ["a", 1])}),
    Operation.EMBEDDING: ({"input": "x"}, {"input": (5, {}, [None], ["a", 1], [[1], ["a"]])}),
    Operation.MESSAGES: (
        {"messages": HELLO},
        GENERATION | {"messages": ("x", {}, [5], [{}], [{"role": "x", "content": ""}], [{"role": "user"}])},
    ),
    Operation.COUNT_TOKENS: ({"messages": HELLO}, {"messages": ("x", [5], [{"role": "user"}])}),
    Operation.RESPONSES: (
        {"input": "x"},
        {
            "input": (5, {}),
            "stream": ("yes",),
            "temperature": (3, "x"),
            "top_p": (2,),
            "max_output_tokens": (-1, "x"),
            "request_id": ("a b",),
        },
    ),
    Operation.RESPONSE_TOKENS: ({"input": "x"}, {"input": (5, {})}),
    Operation.RERANK: ({"query": "x", "documents": ["y"]}, {"query": (5, ["x"]), "documents": (5, "x")}),
    Operation.SCORE: ({}, {"request_id": ("a b",)}),
    Operation.SPEECH: ({"input": "x"}, {"input": (5, ["x"], {})}),
    Operation.MODERATION: ({"input": "x"}, {"input": (5, {})}),
    Operation.IMAGE: ({"prompt": "x"}, {"prompt": (5, ["x"], {})}),
    Operation.TOKENIZE: ({}, {"request_id": ("a b",)}),
    Operation.DETOKENIZE: ({"tokens": [1]}, {"tokens": (5, "x", {})}),
}
FORMS = {Operation.TRANSCRIPTION, Operation.TRANSLATION}
MODEL: tuple[object, ...] = (5, ["m"], {}, True, "m" * 513)
NO_MODEL_NEEDED = {Operation.MESSAGES, Operation.COUNT_TOKENS}  # there the default one answers


def test_no_operation_is_forgotten() -> None:
    sockets = {operation for operation in Operation if operation.socket}  # they have no body
    assert set(TABLE) | FORMS | sockets == set(Operation)


@cache
def whole_path() -> Path:
    """One for all: what is refused leaves no trace."""
    return Path()


async def refused(operation: Operation, body: bytes, kind: str = "application/json") -> tuple[int, str, str | None]:
    """Status, code and param of the refusal; it was quick, it is JSON of the right envelope, no engine was asked."""
    path = whole_path()
    start = time.thread_time()
    reply = await path.ask("POST", operation.path, body, headers=[("content-type", kind)])
    assert time.thread_time() - start < LIMIT
    assert path.upstreams.asked == []
    assert isinstance(reply.body, bytes)
    envelope = json.loads(reply.body)
    assert envelope["request_id"] == header(reply, "x-request-id")
    assert ("type" in envelope) == (operation in NO_MODEL_NEEDED)
    return reply.status, envelope["error"]["code"], envelope["error"]["param"]


def good(operation: Operation) -> dict[str, Any]:
    return {"model": "remote"} | TABLE[operation][0]


def required() -> Iterator[Any]:
    for operation, (members, _) in TABLE.items():
        for name in [*members, *([] if operation in NO_MODEL_NEEDED else ["model"])]:
            yield pytest.param(operation, name, id=f"{operation}-{name}")


@pytest.mark.parametrize(("operation", "name"), list(required()))
async def test_what_is_required_and_missing_null_or_empty_is_400(operation: Operation, name: str) -> None:
    body = good(operation)
    values: tuple[object, ...] = (None, "", [])
    for nothing in values:
        status, _, param = await refused(operation, json.dumps(body | {name: nothing}).encode())
        wrong_kind = operation in NO_MODEL_NEEDED and nothing == ""  # an empty string is no list of turns
        assert (status, param) == (422 if wrong_kind else 400, name)
    del body[name]
    assert await refused(operation, json.dumps(body).encode()) == (400, "missing_required_parameter", name)


def wrong() -> Iterator[Any]:
    for operation, (_, members) in TABLE.items():
        for name, values in (members | {"model": MODEL}).items():
            for value in values:
                yield pytest.param(operation, name, value, id=f"{operation}-{name}-{str(value)[:20]}")


@pytest.mark.parametrize(("operation", "name", "value"), list(wrong()))
async def test_a_wrong_type_role_or_range_is_422_and_named(operation: Operation, name: str, value: object) -> None:
    status, code, param = await refused(operation, json.dumps(good(operation) | {name: value}).encode())
    assert (status, code) == (422, "invalid_payload")
    assert str(param).startswith(name)


# How a body becomes no JSON object, or none that everybody reads alike; from the body, and from its members.
SPOILT: dict[str, Callable[[bytes, bytes], bytes]] = {
    "text": lambda *_: b"hello",
    "null": lambda *_: b"null",
    "array": lambda body, _: b"[%b]" % body,
    "number": lambda *_: b"5",
    "cut": lambda body, _: body[:-1],
    "tail": lambda body, _: body + b"}",
    "comma": lambda body, _: body[:-1] + b",}",
    "byte order mark": lambda body, _: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body, _: body.decode().encode("utf-16"),
    "NaN": lambda _, members: b'{%b,"x":NaN}' % members,
    "Infinity": lambda _, members: b'{%b,"x":[-Infinity]}' % members,
    "high surrogate": lambda _, members: b'{%b,"x":"\\ud800 and more"}' % members,
    "low surrogate": lambda _, members: b'{%b,"x":"\\udc00 and more"}' % members,
    "surrogate in UTF-8": lambda _, members: b'{%b,"x":"\xed\xa0\x80"}' % members,
    "not UTF-8": lambda _, members: b'{%b,"x":"\xff"}' % members,
    "control character": lambda _, members: b'{%b,"x":"a\x00b"}' % members,
    "bad escape": lambda _, members: b'{%b,"x":"\\x41"}' % members,
    "the model twice": lambda _, members: b'{"model":"m",%b}' % members,
    "the model twice, once in disguise": lambda _, members: b'{"mod\\u0065l":"m",%b}' % members,
    "the stream twice": lambda _, members: b'{%b,"stream":true,"stream":false}' % members,
    "10 MB of arrays": lambda _, members: b'{%b,"x":%b%b}' % (members, b"[" * (TEN_MB // 2), b"]" * (TEN_MB // 2)),
    "10 MB of objects": lambda _, members: b'{%b,"x":%b' % (members, b'{"a":' * (TEN_MB // 5)),
    "10 MB that never end": lambda _, members: b'{%b,"x":%b' % (members, b"[" * TEN_MB),
}


@pytest.mark.parametrize("operation", TABLE)
@pytest.mark.parametrize("how", SPOILT)
async def test_a_body_that_is_no_sound_json_object_is_422(operation: Operation, how: str) -> None:
    body = json.dumps(good(operation)).encode()
    status, code, _ = await refused(operation, SPOILT[how](body, body[1:-1]))
    assert (status, code) == (422, "invalid_payload")


@pytest.mark.parametrize("operation", TABLE)
async def test_an_empty_body_is_422(operation: Operation) -> None:
    assert await refused(operation, b"") == (422, "invalid_payload", None)


@pytest.mark.parametrize("operation", TABLE)
async def test_ten_megabytes_of_small_members_hold_nobody_up(operation: Operation) -> None:
    body = json.dumps(good(operation)).encode()
    crowd = b",".join(b'"%d":1' % number for number in range(900_000))
    started = time.process_time()
    assert (await refused(operation, body[:-1] + b"," + crowd + b"}"))[:2] == (422, "invalid_payload")
    assert time.process_time() - started < 0.5  # five times what it may cost


CROWDS = {
    "messages": [b'{"role":"user","content":"x"}', b"{}", b"[]", b"5", b'{"role":"user","content":[{"type":"text"}]}'],
    "input": [b"{}", b"5.5", b"[[1]]"],
    "prompt": [b"{}", b"5.5", b"[[1]]"],
    "documents": [],
    "query": [],
    "tokens": [],
}


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING, Operation.MESSAGES])
async def test_ten_megabytes_of_small_things_are_422_in_no_time(operation: Operation) -> None:
    (name,) = TABLE[operation][0]
    for item in CROWDS[name]:
        crowd = b",".join([item] * (TEN_MB // len(item)))
        status, code, _ = await refused(operation, b'{"model":"remote","%b":[%b]}' % (name.encode(), crowd))
        assert (status, code) == (422, "invalid_payload")


KIND = "multipart/form-data; boundary=b"
FIELD = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
END = b"--b--\r\n"


@pytest.mark.parametrize("operation", sorted(FORMS))
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", KIND, 400),
        (FIELD % (b"file", b"x") + END, KIND, 400),
        (FIELD % (b"model", b"") + END, KIND, 400),
        (FIELD % (b"model", b"m") * 2 + END, KIND, 422),
        (FIELD % (b"model", b"\xff") + END, KIND, 422),
        (FIELD % (b"model", b"m" * 600) + END, KIND, 422),
        (FIELD % (b"model", b"m"), KIND, 422),
        (FIELD % (b"model", b"m") + END, "multipart/form-data", 422),
        (b'{"model":"remote"}', "application/json", 422),
        (b'{"model":"remote"}', KIND, 422),
        (FIELD % (b"x", b"y") * (TEN_MB // 60), KIND, 422),
        (b"\r\n--" * (TEN_MB // 4), KIND, 422),
        (b"--b" + b"x" * TEN_MB, KIND, 422),
    ],
    ids=range(13),
)
async def test_a_form_that_is_none_or_has_no_model(operation: Operation, body: bytes, kind: str, status: int) -> None:
    assert (await refused(operation, body, kind))[0] == status
