import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.sse import Splitter, data_of, event, is_done

STREAM = b': hi\n\ndata: {"a":1}\n\ndata: one\ndata: two\r\n\r\n: ping\r\n\r\nevent: x\rdata: y\r\rdata: [DONE]\n\n'
EVENTS = [
    b'data: {"a":1}\n\n',
    b"data: one\ndata: two\r\n\r\n",
    b"event: x\rdata: y\r\r",
    b"data: [DONE]\n\n",
]


def test_whole_events_come_out_unchanged_and_comments_do_not() -> None:
    splitter = Splitter()
    assert splitter.feed(STREAM) == EVENTS
    assert not splitter.pending


def test_byte_by_byte_makes_no_difference() -> None:
    splitter = Splitter()
    assert [found for byte in STREAM for found in splitter.feed(bytes([byte]))] == EVENTS


def test_every_place_to_split_makes_no_difference() -> None:
    for cut in range(len(STREAM)):
        splitter = Splitter()
        assert splitter.feed(STREAM[:cut]) + splitter.feed(STREAM[cut:]) == EVENTS


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: a", b"data:", b":c", b"id: 1"])), st.data())
def test_any_mix_of_line_ends_splits_the_same_wherever_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    whole = Splitter()
    expected = whole.feed(stream)
    splitter, found, rest = Splitter(), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += splitter.feed(rest[:size])
        rest = rest[size:]
    assert found == expected
    assert splitter.pending == whole.pending


@given(st.lists(st.binary(min_size=1).filter(lambda text: not set(text) & set(b"\r\n"))))
def test_what_is_encoded_is_what_comes_out(texts: list[bytes]) -> None:
    stream = b"".join(event(text) for text in texts)
    assert [data_of(found) for found in Splitter().feed(stream)] == texts


def test_an_unfinished_event_is_pending_until_its_blank_line() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: x\n") == []
    assert splitter.pending
    assert splitter.feed(b"\n") == [b"data: x\n\n"]
    assert not splitter.pending


def test_an_event_is_not_kept_waiting_for_a_line_end_that_it_has() -> None:
    assert Splitter().feed(b"data: x\r\r") == [b"data: x\r\r"]
    assert Splitter().feed(b"data: x\r\n\r\n") == [b"data: x\r\n\r\n"]


def test_events_without_data_are_dropped() -> None:
    assert Splitter().feed(b"id: 1\n\nretry: 5\n\ndata:\n\n\n\n\nevent: ping\n\n") == []


def test_an_event_over_the_limit_is_a_violation_finished_or_not() -> None:
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 123\n\n")
    with pytest.raises(ProtocolViolation, match="10 bytes"):
        Splitter(10).feed(b"data: 12345")
    assert len(Splitter(11).feed(b"data: 123\n\n" * 3)) == 3


def test_data_lines_are_joined_and_lose_one_space_only() -> None:
    assert data_of(b"event: a\ndata:  x\r\ndata:y\rid: 3\n\n") == b" x\ny"
    assert data_of(b": only a comment\n\n") == b""
    assert event(b"x\ny") == b"data: x\ndata: y\n\n"


def test_only_the_closing_mark_itself_is_the_closing_mark() -> None:
    assert is_done(b"data: [DONE]\n\n")
    assert is_done(b"data:[DONE]\r\n\r\n")
    assert not is_done(b'data: {"content":"[DONE]"}\n\n')
    assert not is_done(b": [DONE]\n\n")
