"""A child's log file, followed: the last lines for people, the time of the last sign of life for the start deadline.

The child writes to the file and waits for nobody. We look at the file a few times a second and read a bounded part;
of a flood, the middle is counted and passed over. Whoever follows along (`Reader`) takes from the last lines kept here,
as fast as it likes: one that is slow, or never comes back, misses lines and is told how many.
"""

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import trio

from appliance.domain.secret import Secret

LINES = 200
LINE_BYTES = 8 * 2**10
FILE_BYTES = 10 * 2**20
POLL = 0.2
OLDER = 3  # files kept beside the present one
_CHUNK = 2**18  # one look takes at most this much; of a flood, the end is what matters
_COUNTED = 2**25  # one look counts the lines in at most this much of what it passes over
_SLACK = 512  # kept beyond the cut so that a secret across it is still seen whole and masked
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_ENDS = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with \r, so each of its steps is a line
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Tail:
    """Follows one file from its present end.

    Args:
        path: the file; need not exist yet.
        secrets: texts that are masked in every line.
        clock: the time for `last_change`.
        limit: size at which the file moves to `<name>.1`, and what was there to `.2`, and so on. The child appends, so
            truncating under it is safe; what it writes between the copy and the cut is lost.

    Attributes:
        last_change: when the file last grew.
        count: lines so far, those that were passed over included: the number of the last whole line.
        dropped: lines that were passed over because they came faster than they are looked at.
    """

    def __init__(
        self,
        path: Path,
        secrets: Iterable[Secret] = (),
        *,
        clock: Callable[[], float] = trio.current_time,
        limit: int = FILE_BYTES,
    ) -> None:
        self._path = path
        self._secrets = [secret.reveal for secret in secrets if secret.reveal]
        self._clock = clock
        self._limit = limit
        self._position = path.stat().st_size if path.exists() else 0
        self._ring: deque[str] = deque(maxlen=LINES)
        self._open = b""  # the line that has not ended yet
        self._astray = False  # in the middle of a line whose beginning was passed over
        self.count = 0
        self.dropped = 0
        self.last_change = clock()

    def lines(self) -> list[str]:
        """The last lines, oldest first; a line without its end is the last."""
        return [*self._ring, *([self._clean(self._open)] if self._open else [])]

    def after(self, number: int) -> list[str]:
        """The whole lines after that number which are still kept; `count` is the number of the last."""
        fresh = min(self.count - number, len(self._ring))
        return list(self._ring)[-fresh:] if fresh > 0 else []

    async def follow(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self.poll()
            if self._position >= self._limit:
                unseen = await trio.to_thread.run_sync(self.rotate, limiter=trio.CapacityLimiter(1))
                if unseen is not None:
                    self._look(self._older(1), unseen)
            await trio.sleep(POLL)

    def poll(self) -> None:
        """One look: read what is new."""
        self._position = self._look(self._path, self._position)

    def _look(self, path: Path, position: int) -> int:
        """Read what a file has after that position; how far it has been read then."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < position:  # somebody else cut it
                    position = 0
                    self._open = b""
                if size == position:
                    return position
                file.seek(position)
                if size - position > _CHUNK:
                    self._pass_over(file, size - _CHUNK)
                data = file.read(_CHUNK)
                position = file.tell()
        except OSError:  # not there yet, or removed by hand
            return position
        self.last_change = self._clock()
        self._take(data)
        return position

    def _pass_over(self, file: BinaryIO, until: int) -> None:
        """Go on to a later place, which is in the middle of a line; count what is left out."""
        self._note_dropped(bool(self._open))
        for place in range(max(file.tell(), until - _COUNTED), until, _CHUNK):
            file.seek(place)
            self._note_dropped(file.read(min(_CHUNK, until - place)).count(b"\n"))
        file.seek(until)
        # Half a line is shown to nobody: the other half may be what makes a secret recognisable.
        self._open, self._astray = b"", True

    def _note_dropped(self, lines: int) -> None:
        self.dropped += lines
        self.count += lines

    def _take(self, data: bytes) -> None:
        if self._astray:
            end = _ENDS.search(data)
            if end is None:
                return
            data, self._astray = data[end.end() :], False
        whole, ended, rest = _ENDS.sub(b"\n", self._open + data).rpartition(b"\n")
        self._open = rest[: LINE_BYTES + _SLACK]
        if ended:
            older, *_ = lines = whole.rsplit(b"\n", LINES)
            if len(lines) > LINES:  # more than are kept came at once
                self._note_dropped(older.count(b"\n") + 1)
                del lines[0]
            for line in lines:
                if line:
                    self._ring.append(self._clean(line))
                    self.count += 1

    def _clean(self, line: bytes) -> str:
        text = line[: LINE_BYTES + _SLACK].decode("utf-8", "replace")
        text = _CONTROLS.sub("", _ESCAPES.sub("", text))
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text.encode()[:LINE_BYTES].decode("utf-8", "ignore")

    def rotate(self) -> int | None:
        """Move the file away and begin again. Blocks for as long as copying takes: call it in a thread.

        Returns:
            From where on the copy has what was written since the last look; None when there is no such copy.
        """
        older = [self._older(number) for number in range(1, OLDER + 1)]
        with suppress(OSError):
            older[-1].unlink(missing_ok=True)
        for newer, place in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
            with suppress(OSError):
                newer.rename(place)
        unseen = None
        try:
            unseen = max(0, self._position - _copy_end(self._path, older[0], self._limit))
        except OSError:  # on a full disk the copy is given up, and the cut makes room
            with suppress(OSError):
                older[0].unlink(missing_ok=True)
        try:
            os.truncate(self._path, 0)
        except OSError:
            return None
        self._position = 0
        return unseen

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a reader gets.

    Attributes:
        lines: new lines, oldest first.
        missed: lines before them that the reader was too slow for, or that nobody has read.
    """

    lines: list[str]
    missed: int


class Reader:
    """Someone who follows along. Holds nothing but a number, so it costs and stalls nobody.

    Args:
        source: the tail that is current; a new process has a new one, whose lines are then all new. None says that
            there is none at present.
        last: how many of the lines that are there already to begin with.

    Attributes:
        tail: the one whose lines were taken last.
    """

    def __init__(self, source: Callable[[], Tail | None], last: int) -> None:
        self._source = source
        self.tail = source()
        self._number = 0
        if self.tail is not None:
            kept = len(self.tail.after(0))
            self._number = self.tail.count - min(max(0, last), kept)

    async def receive(self) -> Piece:
        """Wait until there is something new."""
        while (piece := self.take()) is None:
            await trio.sleep(POLL)
        return piece

    def take(self, most: int | None = None) -> Piece | None:
        """What is new, as far as it fits into `most` bytes; one line always does. None when nothing is new."""
        # The last words of the old process come before the first of the new one.
        if (piece := self._take(most)) is not None:
            return piece
        tail = self._source()
        if tail is None or tail is self.tail:
            return None
        self.tail, self._number = tail, 0
        return self._take(most)

    def _take(self, most: int | None) -> Piece | None:
        tail = self.tail
        new = tail.count - self._number if tail is not None else 0
        if tail is None or new <= 0:
            return None
        lines = tail.after(self._number)
        missed = new - len(lines)
        if most is not None:
            sizes = accumulate(len(line.encode()) for line in lines)
            lines = lines[: max(1, sum(size <= most for size in sizes))]
        self._number += missed + len(lines)
        return Piece(lines, missed)


def _copy_end(source: Path, target: Path, most: int) -> int:
    """Copy the last bytes of a file to a private one; where in the file they begin."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as copy, source.open("rb") as file:
        begin = file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        shutil.copyfileobj(file, copy, _CHUNK)
    return begin
