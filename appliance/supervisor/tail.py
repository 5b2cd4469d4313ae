"""A child's log file, followed: the last lines for people, the time of the last sign of life for the start deadline."""

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from appliance.domain.secret import Secret

LINES = 200
LINE_BYTES = 8 * 2**10
FILE_BYTES = 10 * 2**20
_POLL = 0.2
_CHUNK = 2**20  # one look reads at most this much; a flood is skipped, not queued
_SLACK = 512  # kept beyond the cut so that a secret across it is still seen whole and masked
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TELLING = re.compile(
    r"error|fatal|exception|fail|cannot|can't|unable|not found|no such file|denied|abort|out of memory|invalid|panic",
    re.IGNORECASE,
)


def telling(lines: Sequence[str], longest: int = 300) -> str:
    """The line that most likely says why a process ended: the last one that sounds like an error, else the last."""
    spoken = [line.strip() for line in lines if line.strip()]
    if not spoken:
        return ""
    line = next((line for line in reversed(spoken[-50:]) if _TELLING.search(line)), spoken[-1])
    return line if len(line) <= longest else line[: longest - 1] + "…"


class Tail:
    """Follows one file from its present end.

    Args:
        path: the file; need not exist yet.
        secrets: texts that are masked in every line.
        clock: the time for `last_change`.
        limit: size at which the file moves to `<name>.1`. The child appends, so truncating under it is safe; what it
            writes between the copy and the cut is lost.
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
        self.last_change = clock()

    def lines(self) -> list[str]:
        """The last lines, oldest first; a line without its end is the last."""
        return [*self._ring, *([self._clean(self._open)] if self._open else [])]

    async def follow(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self.poll()
            await trio.sleep(_POLL)

    def poll(self) -> None:
        """One look: read what is new, move the file away when it has grown too big."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._position:  # somebody else cut it
                    self._position = 0
                if size == self._position:
                    return
                file.seek(max(self._position, size - _CHUNK))
                data = file.read(_CHUNK)
                self._position = file.tell()
        except OSError:  # not there yet, or removed by hand
            return
        self.last_change = self._clock()
        self._take(data)
        if self._position >= self._limit:
            self._rotate()

    def _take(self, data: bytes) -> None:
        # Progress bars end their lines with \r, so each of their steps is a line of its own.
        *whole, rest = re.split(rb"[\r\n]", self._open + data)
        for line in whole:
            if line:
                self._ring.append(self._clean(line))
        self._open = rest[: LINE_BYTES + _SLACK]

    def _clean(self, line: bytes) -> str:
        text = line[: LINE_BYTES + _SLACK].decode("utf-8", "replace")
        text = _CONTROLS.sub("", _ESCAPES.sub("", text))
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text.encode()[:LINE_BYTES].decode("utf-8", "ignore")

    def _rotate(self) -> None:
        older = self._path.with_name(self._path.name + ".1")
        with suppress(OSError):  # on a full disk the copy is lost, and the cut makes room
            shutil.copyfile(self._path, older)
            older.chmod(0o600)
        with suppress(OSError):
            os.truncate(self._path, 0)
            self._position = 0
