"""The one writer of the usage file."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.storage.writer import Keeping, Words, Writer
from appliance.usage.store import Row, Store

Exchange = TypeVar("Exchange")
_WORDS = Words("usage", "exchanges")


class Recorder(Writer[Exchange, Row]):
    """Takes exchanges at once and writes them a second later.

    Args:
        path: the file.
        keeping: how long; `largest` is bytes.
        now: seconds since 1970.
        row_of: makes the row of an exchange that ended at a time; called in the thread.
        room: exchanges that may wait; beyond them the oldest are dropped.
    """

    def __init__(
        self,
        path: Path,
        keeping: Keeping,
        now: Callable[[], float],
        row_of: Callable[[float, Exchange], Row],
        *,
        room: int = 100_000,
    ) -> None:
        super().__init__(path, keeping, now, row_of, Store.open, _WORDS, room=room)
