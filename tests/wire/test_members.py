import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.wire.members import (
    MEMBERS,
    absent,
    clearly_once,
    model_name,
    read_json,
    refuse_many,
    refuse_strange,
    request_id_of,
    require,
)


def refusal(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        read_json(body, MEMBERS)
    return caught.value.code, caught.value.param


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":1,"x":{"model":1},"model":12}',
        b'{"model":12,"model":1}',
        b'{ "model" : "a" , "x" : [ ] , "model" : "b" }',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"a","x":"\\u00e9","\\u006dodel":"b"}',
        b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a","mod\\u0065l":"b"}',
        b'{"model":{"model":1},"model":{"model":1}}',
    ],
)
def test_a_name_that_is_there_twice_is_refused_however_it_is_written(body: bytes) -> None:
    assert refusal(body) == ("invalid_payload", "model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","messages":[{"model":"b"},{"model":"c"}]}',
        b'{"model":"a","x":"\\"model\\":\\"b\\", \\"model\\""}',
        b'{"model":"a","x":"model","y":"\\u0041"}',
        b'{"x":"a","x":"b"}',
        b'\n{\r"model"\t:"a"}\n',
        b"{}",
    ],
)
def test_the_same_word_elsewhere_is_nobodys_business(body: bytes) -> None:
    assert read_json(body, MEMBERS) is not None


def test_an_ordinary_body_takes_no_closer_look() -> None:
    body = b'{"model":"a","messages" : [{"model":"user","content":"the \\"model\\" caf\\u0041"}],"x":"\\u00e9"}'
    messages = msgspec.Raw(body[body.index(b"[") : body.index(b"]") + 1])
    assert clearly_once(body, (b'"messages"', messages), (b'"tools"', msgspec.Raw()))
    assert not clearly_once(body)
    # What follows the name is not the value that counts: it is there twice, or it is somewhere else as well.
    assert not clearly_once(b'{"x":{"messages":[]},' + body[1:], (b'"messages"', messages))
    assert not clearly_once(b'{"messages":[],' + body[1:], (b'"messages"', messages))


KEYS = st.sampled_from(["model", "stream", "x", 'a"b', "é", "\\"])
VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2))


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5), st.booleans(), st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_exactly_what_is_repeated_is_refused(
    pairs: list[tuple[str, object]], ascii_only: bool, signs: tuple[str, str]
) -> None:
    members = [f"{json.dumps(key, ensure_ascii=ascii_only)}{signs[1]}{json.dumps(value)}" for key, value in pairs]
    # The escape makes every body one that is looked at closely.
    body = ("{" + signs[0].join([*members, '"esc":"\\u0041"']) + "}").encode()
    keys = [key for key, _ in pairs]
    if len(set(keys)) == len(keys):
        read = read_json(body, MEMBERS)
        assert set(read) == {*keys, "esc"}
    else:
        assert refusal(body)[0] == "invalid_payload"


def test_a_closer_look_at_many_members_is_refused_in_no_time() -> None:
    body = ("{" + ",".join(f'"{number}":0' for number in range(50_000)) + ',"mod\\u0065l":"x"}').encode()
    start = time.perf_counter()
    assert refusal(body) == ("invalid_payload", None)
    assert time.perf_counter() - start < 0.5


def test_a_crowd_of_names_is_refused_unless_it_is_where_there_may_be_many() -> None:
    crowd = ",".join(f'"{number}":0' for number in range(30_000))
    for body in (f'{{"model":"m",{crowd}}}', f'{{"model":"m","x":{{{crowd}}}}}'):
        with pytest.raises(GatewayError, match="more than 20,000 names"):
            refuse_strange(body.encode())
    for name in ("messages", "tools", "metadata"):
        refuse_strange(f'{{"model":"m","{name}":[{{{crowd}}}]}}'.encode())
    refuse_strange(b'{"model":"m","prompt":"%b"}' % (b":" * 200_000))


def test_a_crowd_of_things_in_a_list_is_refused_and_a_long_text_with_as_many_signs_is_not() -> None:
    for thing in (b"{}", b'""', b'{"type":"text"}'):
        with pytest.raises(GatewayError) as caught:
            refuse_many(msgspec.Raw(b"[" + b",".join([thing] * 110_000) + b"]"), "messages[0].content")
        assert caught.value.param == "messages[0].content"
    code = json.dumps([{"type": "text", "text": 'if (x) { say("no"); }' * 60_000}]).encode()
    refuse_many(msgspec.Raw(code), "messages[0].content")


@pytest.mark.parametrize("raw", [b"", b"null"])
def test_null_is_absent(raw: bytes) -> None:
    assert absent(msgspec.Raw(raw))
    assert request_id_of(msgspec.Raw(raw)) is None


@pytest.mark.parametrize("raw", [b"", b"null", b'""', b"[ ]"])
def test_nothing_is_not_enough_where_something_is_required(raw: bytes) -> None:
    with pytest.raises(GatewayError, match="is required"):
        require(msgspec.Raw(raw), "x")


def test_a_model_is_named_by_a_string() -> None:
    assert model_name(msgspec.Raw(b'"a/b"')) == "a/b"
    with pytest.raises(GatewayError, match="at most 512"):
        model_name(msgspec.Raw(b"[1]"))
