import io

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from appliance.cli.tables import PIPE, Listing, columns, height, shortened, show, table

LONG = "Qwen3-Coder-480B-A35B-Instruct-FP8-KV-cache-q8-context-262144-experimental"
WHY = "exit code 1: there is no such file. Fetch it again, or name the one that there is."
FIGURES = Listing(
    ("NAME", "STATE", ">BUSY"), [((LONG, "quarantined", "0"), Text(WHY)), (("m", "ready", "3/4"), Text())]
)


def shown(thing: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120, PIPE])
def test_a_long_name_takes_no_state_and_no_reason_away(width: int) -> None:
    lines = shown(FIGURES.shown(width), width)
    assert max(map(len, lines)) <= width
    assert "quarantined" in lines[1]
    assert WHY.rsplit(maxsplit=1)[-1] in " ".join(lines)
    assert LONG in "".join(line.split()[0] for line in lines[1:4])


def test_words_stand_beside_where_there_is_room_and_under_elsewhere() -> None:
    assert shown(FIGURES.shown(200), 200)[1].endswith(WHY)
    assert shown(FIGURES.shown(200), 200)[0].split() == ["NAME", "STATE", "BUSY", "WHY"]
    assert shown(FIGURES.shown(110), 110)[2] == f"  {WHY}"
    assert len(shown(Listing(("A",), [(("a",), Text())]).shown(80), 80)) == 2
    assert FIGURES.lines(80)[0] == 2
    assert FIGURES.lines(80)[1] == 1


def test_words_that_can_be_left_out_are_no_line_of_their_own() -> None:
    assert len(shown(Listing(("NAME",), FIGURES.rows, under=False).shown(40), 40)) == len(LONG) // 40 + 3


def test_a_pipe_gets_each_row_in_one_line_without_spaces_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert columns() == PIPE
    rows = table("NAME", ">N")
    rows.add_row("x" * 300, "1")
    rows.add_row("y", "")
    show(rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "  1"
    assert lines[2] == "y"
    show(FIGURES.shown(columns()))
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_short_name_has_its_beginning_and_its_end() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("Qwen3-32B-Instruct-FP8", 13) == "Qwen3-…ct-FP8"
    assert len(shortened(LONG, 26)) == 26
    assert height(FIGURES.shown(80), 80) == len(shown(FIGURES.shown(80), 80))
