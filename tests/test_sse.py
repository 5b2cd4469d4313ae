import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.sse import Splitter, cut, data_of, event, is_done, with_data

STREAM = b': hi\n\ndata: {"a":1}\n\ndata: one\ndata: two\r\n\r\n: ping\r\n\r\nevent: x\rdata: y\r\rdata: [DONE]\n\n'
EVENTS = [
    b'data: {"a":1}\n\n',
    b"data: one\ndata: two\r\n\r\n",
    b"event: x\rdata: y\r\r",
    b"data: [DONE]\n\n",
]


def fed(splitter: Splitter, data: bytes) -> list[bytes]:
    return cut(splitter.feed(data))


def test_whole_events_come_out_unchanged_and_comments_do_not() -> None:
    splitter = Splitter()
    assert fed(splitter, STREAM) == EVENTS
    assert not splitter.pending


def test_byte_by_byte_makes_no_difference() -> None:
    splitter = Splitter()
    assert [found for byte in STREAM for found in fed(splitter, bytes([byte]))] == EVENTS


def test_every_place_to_split_makes_no_difference() -> None:
    for at in range(len(STREAM)):
        splitter = Splitter()
        assert fed(splitter, STREAM[:at]) + fed(splitter, STREAM[at:]) == EVENTS


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: a", b"data:", b":c", b"id: 1"])), st.data())
def test_any_mix_of_line_ends_splits_the_same_wherever_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    whole = Splitter()
    expected = fed(whole, stream)
    splitter, found, rest = Splitter(), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += fed(splitter, rest[:size])
        rest = rest[size:]
    assert found == expected
    assert splitter.pending == whole.pending


@given(st.lists(st.binary(min_size=1).filter(lambda text: not set(text) & set(b"\r\n"))))
def test_what_is_encoded_is_what_comes_out(texts: list[bytes]) -> None:
    stream = b"".join(event(text) for text in texts)
    assert [data_of(found) for found in fed(Splitter(), stream)] == texts


def test_an_unfinished_event_is_pending_until_its_blank_line() -> None:
    splitter = Splitter()
    assert fed(splitter, b"data: x\n") == []
    assert splitter.pending
    assert fed(splitter, b"\n") == [b"data: x\n\n"]
    assert not splitter.pending


def test_an_event_is_not_kept_waiting_for_a_line_end_that_it_has() -> None:
    assert fed(Splitter(), b"data: x\r\r") == [b"data: x\r\r"]
    assert fed(Splitter(), b"data: x\r\n\r\n") == [b"data: x\r\n\r\n"]


def test_the_usual_read_comes_out_as_it_came() -> None:
    run = b'data: {"a":1}\n\n' * 3
    splitter = Splitter()
    assert splitter.feed(run) is run
    assert splitter.feed(run[:-1]) == run[:-15]
    assert splitter.feed(b"\n" + run[:5]) == run[-15:]
    assert splitter.feed(run[5:]) == run
    assert not splitter.pending


def test_line_ends_may_change_in_the_middle_of_an_event() -> None:
    splitter = Splitter()
    assert fed(splitter, b"data: a\n\ndata: b\n") == [b"data: a\n\n"]
    assert fed(splitter, b"\r\ndata: c\r\n\r") == [b"data: b\n\r\n"]
    assert fed(splitter, b"\ndata: d\n\n") == [b"data: c\r\n\r\n", b"data: d\n\n"]


def test_events_without_data_are_dropped() -> None:
    assert fed(Splitter(), b"id: 1\n\nretry: 5\n\ndata:\n\n\n\n\nevent: ping\n\n") == []


def test_an_event_over_the_limit_is_a_violation_finished_or_not() -> None:
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 123\n\n")
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 12345")
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 1\n\n\n\n\ndata: 123\n\n")
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 12\r\n\r\n")
    assert len(fed(Splitter(11), b"data: 123\n\n" * 3)) == 3


def test_data_lines_are_joined_and_lose_one_space_only() -> None:
    assert data_of(b"event: a\ndata:  x\r\ndata:y\rid: 3\n\n") == b" x\ny"
    assert data_of(b": only a comment\n\n") == b""
    assert event(b"x\ny") == b"data: x\ndata: y\n\n"


def test_an_event_with_other_data_keeps_its_other_lines() -> None:
    for wire in (b"event: x\ndata: old\nid: 1\n\n", b"event: x\r\ndata: ol\r\nid: 1\r\ndata: d\r\n\r\n"):
        assert with_data(wire, b"new") == b"event: x\nid: 1\ndata: new\n\n"
    assert with_data(b"data: old\n\n", b"a\nb") == b"data: a\ndata: b\n\n"


def test_only_the_closing_mark_itself_is_the_closing_mark() -> None:
    assert is_done(data_of(b"data: [DONE]\n\n"))
    assert is_done(data_of(b"data:[DONE]\r\n\r\n"))
    assert not is_done(data_of(b'data: {"content":"[DONE]"}\n\n'))
    assert not is_done(data_of(b": [DONE]\n\n"))
