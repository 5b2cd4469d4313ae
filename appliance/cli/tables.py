"""Tables for a terminal of any width, and for a pipe: there every row is one line, however long it becomes."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

PIPE = 10_000  # columns where nobody looks at them: whoever looks for a name with grep shall find it in one piece
_WORDS = 40  # columns below which words stand under their row instead of beside it
_GAP = 2
_NAME = 16  # columns that a name may always have
Row = tuple[Sequence[str | Text], Text]  # cells, and words about them


def columns() -> int:
    """How many there are where standard output goes."""
    return Console().width if sys.stdout.isatty() else PIPE


def show(thing: RenderableType) -> None:
    """Print it. A pipe gets no spaces at the ends of lines."""
    if sys.stdout.isatty():
        Console(highlight=False).print(thing)
        return
    told = Console(file=io.StringIO(), width=PIPE, highlight=False)
    told.print(thing)
    for line in told.file.getvalue().splitlines():  # type: ignore[attr-defined]  # it is the one above
        print(line.rstrip())


def height(thing: RenderableType, width: int) -> int:
    """Its lines in so many columns."""
    return len(Console(width=width, file=io.StringIO()).render_lines(thing))


def table(*columns: str) -> Table:
    """A plain table; a column whose name begins with ">" holds numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name.startswith(">")
        made.add_column(
            name.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=right or name == "STATE",
            overflow="fold",
        )
    return made


@dataclass(frozen=True, slots=True)
class Listing:
    """Names and figures, each row with words about it.

    Attributes:
        columns: a name that begins with ">" holds numbers.
        rows: cells, the first of which is the row's name, and the words about it.
        title: of the words.
        under: words that do not fit beside their row stand under it; else they are left out.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    title: str = "WHY"
    under: bool = True

    def shown(self, width: int) -> RenderableType:
        """In so many columns. A name for which there is no room goes on in the next line."""
        widths = self._widths(width)
        longest, beside = self._longest, self._beside(widths, width)
        titles = [Text(name.removeprefix(">"), style="bold") for name in self.columns]
        parts: list[RenderableType] = [self._line(titles, Text(self.title if longest else "", "bold"), widths, beside)]
        for cells, text in self.rows:
            parts.append(self._line(cells, text, widths, beside))
            if text and self.under and not beside:
                parts.append(Padding(text, (0, 0, 0, _GAP)))
        return Group(*parts)

    def lines(self, width: int) -> list[int]:
        """How many each row needs whose words are cut to one."""
        under = self.under and not self._beside(self._widths(width), width)
        return [2 if text and under else 1 for _, text in self.rows]

    @property
    def _longest(self) -> int:
        return max((text.cell_len for _, text in self.rows), default=0)

    def _beside(self, widths: Sequence[int], width: int) -> bool:
        """Whether there is room for the words beside their rows."""
        return width - sum(widths) - _GAP * len(widths) >= min(_WORDS, self._longest)

    def _widths(self, width: int) -> list[int]:
        widths = [
            max([cell_len(name.removeprefix(">")), *(_length(cells[number]) for cells, _ in self.rows)])
            for number, name in enumerate(self.columns)
        ]
        left = width - sum(widths[1:]) - _GAP * (len(widths) - 1)
        return [min(widths[0], max(width // 3, _NAME, left)), *widths[1:]]

    def _line(self, cells: Sequence[str | Text], words: Text, widths: Sequence[int], beside: bool) -> Table:  # noqa: FBT001 - one of two shapes
        line = Table.grid(padding=(0, _GAP, 0, 0))
        for name, width in zip(self.columns, widths, strict=True):
            line.add_column(width=width, justify="right" if name.startswith(">") else "left", overflow="fold")
        if beside:
            line.add_column(overflow="fold")
        line.add_row(*cells, *([words] if beside else []))
        return line


def shortened(name: str, room: int) -> str:
    """A name in so many characters: its beginning and its end, which tell it from others."""
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}…{name[len(name) - end :]}"


def _length(cell: str | Text) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len
