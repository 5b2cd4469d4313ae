import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Usage
from appliance.wire.reply import examine, usage_in
from appliance.wire.run_together import ordinary_answer


def usage_of(body: bytes) -> Usage | None:
    seen = examine(body, "")
    return seen[1] if seen else None


def with_request_id(body: bytes, request_id: str) -> bytes:
    seen = examine(body, request_id)
    return seen[0] if seen else body


def test_usage_is_read_from_a_whole_reply() -> None:
    body = (
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}'
    )
    assert usage_of(body) == Usage(9, 4, 2)
    assert usage_of(b'{"usage":{"prompt_tokens":3,"total_tokens":3}}') == Usage(3)


@pytest.mark.parametrize("body", [b"", b"{}", b"no", b"[]", b'{"usage":null}', b'{"usage":5}', b"[" * 100_000])
def test_a_reply_without_usage_has_none(body: bytes) -> None:
    assert usage_of(body) is None


def test_the_id_is_added_and_the_rest_is_byte_for_byte() -> None:
    assert with_request_id(b'{ "a": 1.0e2 }\n', "r1") == b'{ "a": 1.0e2,"request_id":"r1"}'
    assert with_request_id(b"{ }", "r1") == b'{"request_id":"r1"}'


def test_an_id_of_the_engine_is_replaced() -> None:
    assert with_request_id(b'{"request_id":"theirs","a":[ 1 ]}', "r1") == b'{"request_id":"r1","a":[ 1 ]}'


@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b"no", b'{"a":', b"{" * 100_000])
def test_what_is_no_object_stays_as_it_is(body: bytes) -> None:
    assert with_request_id(body, "r1") is body


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())), st.sampled_from([None, 1]))
def test_any_object_keeps_its_members(members: dict[str, object], indent: int | None) -> None:
    body = with_request_id(json.dumps(members, indent=indent).encode(), "r1")
    assert json.loads(body) == members | {"request_id": "r1"}


def test_odd_usage_does_not_hide_why_an_answer_ended_nor_odd_choices_what_it_cost() -> None:
    odd_usage = examine(b'{"choices":[{"finish_reason":"stop"}],"usage":5}', "r1")
    assert odd_usage is not None
    assert odd_usage[1:] == (None, "stop")
    odd_choices = examine(b'{"choices":5,"usage":{"prompt_tokens":3}}', "r1")
    assert odd_choices is not None
    assert odd_choices[1:] == (Usage(3), "")


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"text":"a","finish_reason":"length"}],"usage":{"prompt_tokens":3}} ',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":null}],"request_id":"theirs","usage":null}',
        b'{"choices":[]}',
    ],
)
def test_what_was_read_before_says_the_same(body: bytes) -> None:
    answer = ordinary_answer(body)
    assert answer is not None
    assert examine(body, "r1", answer) == examine(body, "r1")


def test_one_look_gives_the_body_with_the_id_and_the_counts() -> None:
    assert examine(b'{"usage":{"prompt_tokens":3}} ', "r1") == (
        b'{"usage":{"prompt_tokens":3},"request_id":"r1"}',
        Usage(3),
        "",
    )
    assert examine(b'{"request_id":null,"usage":5}', "r1") == (b'{"request_id":"r1","usage":5}', None, "")
    assert examine(b'{"usage":{"prompt_tokens":3},"usage":null}', "r") == (
        b'{"usage":{"prompt_tokens":3},"usage":null,"request_id":"r"}',
        None,
        "",
    )


@pytest.mark.parametrize(
    ("choices", "finish"),
    [
        ('[{"finish_reason":"stop","message":{"content":"\\"finish_reason\\":\\"x\\""}}]', "stop"),
        ('[{"finish_reason": "stop"},{"index":1,"finish_reason": "length"}]', "length"),
        ('[{"finish_reason":null}]', ""),
        ("[]", ""),
        ("null", ""),
        ("5", ""),
        ('[{"finish_reason":5}]', ""),
        ('["odd"]', ""),
    ],
)
def test_the_same_look_says_why_it_ended_and_odd_choices_pass_as_they_are(choices: str, finish: str) -> None:
    body = f'{{"choices":{choices},"usage":{{"prompt_tokens":3}}}}'.encode()
    assert examine(body, "r") == (body[:-1] + b',"request_id":"r"}', Usage(3), finish)


@pytest.mark.parametrize("body", [b"", b"[1", b"5", b'{"a":', b"{} x", b'{"usage":{"a":}}', b"{" * 100_000])
def test_what_is_not_one_whole_object_is_told(body: bytes) -> None:
    assert examine(body, "r1") is None
    assert examine(body, "") is None


def test_counts_nested_too_deeply_are_no_counts() -> None:
    deep = b'{"usage":' + b"[" * 500 + b"]" * 500 + b"}"
    assert examine(deep, "r1") == (deep[:-1] + b',"request_id":"r1"}', None, "")


def test_an_array_passes_as_it_is() -> None:
    body = b'[{"index":0,"score":0.5}]'
    assert examine(body, "r1") == (body, None, "")


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage":{"input_tokens":3,"output_tokens":4,"input_tokens_details":{"cached_tokens":2}}}', Usage(3, 4, 2)),
        (b'{"usage":{"total_tokens":7}}', Usage(7)),
        (b'{"usage":{"type":"duration","seconds":3}}', Usage()),
        (b'{"usage":{"prompt_tokens":0,"total_tokens":9,"completion_tokens":9}}', Usage(0, 9)),
        (b'{"text":"x"}', None),
        (b"no", None),
    ],
)
def test_counts_have_several_names(body: bytes, usage: Usage | None) -> None:
    assert usage_in(body) == usage
