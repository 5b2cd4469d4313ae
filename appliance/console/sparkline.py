"""Numbers as a small line: the points of an SVG polyline. Nothing but digits, so it needs no escaping."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn.

    Attributes:
        points: of the line, from left to right.
        area: of what is below it.
        top: the number at the upper edge.
    """

    points: str
    area: str
    top: float


def sparkline(numbers: Sequence[float | None], room: int) -> Line:
    """A line of the newest numbers, the last one at the right edge.

    Args:
        numbers: oldest first; None is drawn as nothing having happened.
        room: how many numbers the whole width stands for.
    """
    shown = [number or 0.0 for number in numbers[-room:]]
    top = max(shown, default=0.0)
    step = WIDTH / max(room - 1, 1)
    left = WIDTH - step * max(len(shown) - 1, 0)
    top_or_one = top or 1.0
    spots = [
        f"{left + at * step:.1f},{HEIGHT - 1 - number / top_or_one * (HEIGHT - 2):.1f}"
        for at, number in enumerate(shown)
    ]
    area = " ".join([f"{left:.1f},{HEIGHT}", *spots, f"{WIDTH},{HEIGHT}"]) if spots else ""
    return Line(" ".join(spots), area, top)
