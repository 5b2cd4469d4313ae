import json
from collections.abc import Iterator

from appliance.domain.feeds import Piece
from appliance.domain.http import Request
from appliance.domain.orders import LogPiece
from appliance.errors import GatewayError
from appliance.ops.following import LogFeed, following, wants_to_follow, written
from tests.fakes.path import Bytes


class Scripted:
    """A reader that gives what it was given."""

    def __init__(self, *pieces: LogPiece | None) -> None:
        self._pieces: Iterator[LogPiece | None] = iter(pieces)
        self.patience: list[float] = []

    async def receive(self, patience: float) -> LogPiece | None:
        self.patience.append(patience)
        for piece in self._pieces:
            return piece
        raise GatewayError("model_not_found", "It has gone.")


async def test_lines_silence_and_the_end_are_events() -> None:
    reader = Scripted(LogPiece("m", ["a", 'b"\u2028']), None, LogPiece("m", ["c"], 7, fresh=True))
    reply = following(LogFeed(reader), "the output of m")
    assert dict(reply.headers)["content-type"] == "text/event-stream"
    assert not isinstance(reply.body, bytes)
    pieces = [piece async for piece in reply.body]
    assert pieces[0] == b": the output of m\n\n", "before any line, so that the client sees that it is connected"
    assert json.loads(pieces[1].removeprefix(b"data: ")) == {
        "replica": "m",
        "lines": ["a", 'b"\u2028'],
        "missed": 0,
        "fresh": False,
    }
    assert pieces[2].startswith(b": ")
    assert json.loads(pieces[3].removeprefix(b"data: "))["fresh"]
    assert pieces[4] == b'event: end\ndata: {"message":"It has gone."}\n\n'
    assert len(pieces) == 5
    assert all(piece.count(b"\n\n") == 1 for piece in pieces)
    assert reply.body.ended
    assert not reply.body.broken
    assert reply.body.close()
    await reply.body.aclose()
    assert set(reader.patience) == {15.0}


def test_a_piece_says_where_to_go_on_and_what_it_is() -> None:
    assert written(Piece(b"{}")) == b"data: {}\n\n"
    assert written(Piece(b"{}", "7", "missed")) == b"id: 7\nevent: missed\ndata: {}\n\n"


def test_one_follows_by_the_query_or_by_the_form_of_the_answer() -> None:
    def wants(query: dict[str, list[str]], *headers: tuple[str, str]) -> bool:
        return wants_to_follow(Request("GET", "/", "", list(headers), "", Bytes(b"")), query)

    assert wants({"follow": ["1"]})
    assert wants({}, ("accept", "text/event-stream"))
    assert not wants({"follow": ["0"]}, ("accept", "*/*"))
    assert not wants({})
