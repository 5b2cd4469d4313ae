import json
from collections.abc import Iterator

from appliance.domain.orders import LogPiece
from appliance.errors import GatewayError
from appliance.ops.following import following


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
    reply = following(reader, "m")
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
