import trio

from appliance.domain.orders import LogPiece
from appliance.observe.said import MOST, Reading, Said


def test_the_last_lines_are_there_whatever_runs_they_came_in() -> None:
    said = Said()
    assert said.lines(5) == []
    said.add("a\nb\n")
    said.add("")
    said.add("c\n")
    assert said.lines(2) == ["b", "c"]
    assert said.lines(0) == []
    assert said.since(1) == (["c"], True)
    assert said.since(3) == ([], True)


def test_it_never_holds_more_than_so_much() -> None:
    said = Said()
    for number in range(10):
        said.add(f"{number}{'x' * (MOST // 4)}\n")
    assert [line[0] for line in said.lines(100)] == ["7", "8", "9"]
    lines, whole = said.since(2)
    assert (len(lines), whole) == (3, False)
    said.add("y" * MOST * 2 + "\n")
    assert len(said.lines(100)) == 1


async def test_a_reader_gets_what_was_there_and_then_what_comes(autojump_clock: trio.testing.MockClock) -> None:
    said = Said()
    said.add("a\nb\n")
    reader = Reading(said, 1)
    assert await reader.receive(5) == LogPiece("", ["b"])
    assert await reader.receive(5) is None
    said.add("c\n")
    said.add("d\n")
    assert await reader.receive(5) == LogPiece("", ["c", "d"])
    for _ in range(9):
        said.add("x" * (MOST // 4) + "\n")
    piece = await reader.receive(5)
    assert piece is not None
    assert (len(piece.lines), piece.missed) == (3, 1)
