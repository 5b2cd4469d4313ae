from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.breakers.suspects import Known
from appliance.limits.account import Standing
from appliance.limits.handing import Change
from appliance.supervisor.handing import Handed
from appliance.takeover.messages import (
    Busy,
    Bye,
    Changed,
    Client,
    Commit,
    Garbled,
    Hello,
    Incoming,
    Message,
    Offer,
    Ready,
    Refusal,
    Serving,
    Yours,
    encode,
)

ALL: list[tuple[Message, int]] = [
    (Hello(1, "0.1.0", 7), 0),
    (
        Offer(
            7, "0.0.0.0:8000", "/s", ["client", "lock"], [Handed("m", 9, ready=True, slots=4, last_start=1.5)], ["x"]
        ),
        2,
    ),
    (Ready(), 0),
    (
        Commit(
            [Standing("key", "Zoë", (10, 2**70), None, (("day", 1, 2),), 3, 4)],
            [Known("m", "00ff", banned=True, until=9.5)],
        ),
        0,
    ),
    (Serving(), 0),
    (Yours(), 0),
    (Changed(Change("model", "m", "ended", 1, 2, 3)), 0),
    (Client("10.0.0.1", operator=False), 1),
    (Busy({"m": 3}), 0),
    (Bye(), 0),
    (Refusal("no"), 0),
]
WHOLE = b"".join(encode(message, files) for message, files in ALL)


def test_every_message_comes_back_whole_with_its_number_of_files() -> None:
    assert Incoming().feed(WHOLE) == ALL


def test_byte_by_byte_too() -> None:
    incoming = Incoming()
    assert [found for at in range(len(WHOLE)) for found in incoming.feed(WHOLE[at : at + 1])] == ALL
    assert incoming.rest == 0


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    incoming = Incoming()
    pieces = [WHOLE[one:other] for one, other in pairwise(edges)]
    assert [found for piece in pieces for found in incoming.feed(piece)] == ALL


def test_what_follows_stays_until_it_is_whole() -> None:
    incoming = Incoming()
    assert incoming.feed(encode(Ready()) + b"\x00\x00") == [(Ready(), 0)]
    assert incoming.rest == 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff\x00",
        b"\x00\x00\x00\x02\x00{}",
        b"\x00\x00\x00\x03\x00\xff{}",
        b"\x00\x00\x00\x10\x00" + b'{"type":"Other"}',
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_anything_else_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        Incoming().feed(data)


def test_a_hello_of_a_later_version_is_understood() -> None:
    later = msgspec.json.encode({"type": "Hello", "protocol": 9, "version": "7.0", "pid": 1, "more": [1]})
    assert Incoming().feed(len(later).to_bytes(4, "big") + b"\0" + later) == [(Hello(9, "7.0", 1), 0)]
