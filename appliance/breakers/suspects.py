"""Requests that may have crashed an engine, until it is known which one did. Pure.

When an engine's process ends by itself, every request that it had is a suspect for ten minutes. Suspects are let in
again one at a time, so that a second crash with one of them inside names it: that one alone is refused from then on.
The others end well sooner or later, and are suspects no more. Clients send all of them again after a crash, and
whoever merely stood by must not suffer.

A crash and the broken connections that it leaves are seen in any order, by different eyes; what happened within a few
seconds belongs together. So nobody is let in for these seconds after a suspect that broke off, until the crash is seen:
all of them would meet the same dead engine, each of them alone.
"""

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

SUSPECTED = 600.0  # seconds
BANNED = 3600.0
_TOGETHER = 5.0  # seconds between a crash and what it broke, either way
_MOST = 1024  # suspects; the oldest are forgotten
_SWEPT = 10.0  # seconds between two looks for what is over
_BROKEN = 256  # connections that broke lately

Content = bytes  # a digest of what the engine was asked


class Opinion(enum.Enum):
    """What to do with a request."""

    CLEAR = "clear"
    SUSPECT = "suspect"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class Known:
    """One who is suspected, or refused.

    Attributes:
        runtime: whose engine it may have crashed.
        content: the digest of what that was asked, in hex.
        banned: it is refused.
        until: monotonic seconds, the same in every process of one boot.
    """

    runtime: str
    content: str
    banned: bool
    until: float


@dataclass(slots=True)
class _Entry:
    banned: bool
    until: float


class Suspects:
    """One for the whole process.

    Attributes:
        trials: the suspect that each runtime has inside now.
    """

    __slots__ = ("_broken", "_crashes", "_doubts", "_known", "_sweep_at", "trials")

    def __init__(self) -> None:
        self._known: dict[tuple[str, Content], _Entry] = {}  # by runtime and content, oldest first
        self._crashes: dict[str, float] = {}  # the last one of each replica that crashed lately
        self._broken: deque[tuple[str, str, Content, bool, float]] = deque(maxlen=_BROKEN)
        self._doubts: dict[str, tuple[str, float]] = {}  # by runtime; whose crash may be seen yet, and until when
        self._sweep_at = 0.0
        self.trials: dict[str, Content] = {}

    def count(self, now: float) -> tuple[int, int]:
        """How many requests are suspects, and how many are refused."""
        live = [entry for entry in self._known.values() if now < entry.until]
        banned = sum(entry.banned for entry in live)
        return len(live) - banned, banned

    @property
    def any(self) -> bool:
        """There are suspects: requests have to be looked at."""
        return bool(self._known)

    def opinion(self, runtime: str, content: Content, now: float) -> Opinion:
        """What is thought of a request."""
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEPT
            self._known = {key: entry for key, entry in self._known.items() if now < entry.until}
        key = (runtime, content)
        entry = self._known.get(key)
        if entry is not None and now >= entry.until:
            del self._known[key]
            entry = None
        if entry is None:
            return Opinion.CLEAR
        return Opinion.BANNED if entry.banned else Opinion.SUSPECT

    def begin(self, runtime: str, content: Content, now: float) -> bool:
        """Let a suspect in, if no other is inside, and there is no doubt about the engine."""
        if runtime in self.trials or self.doubt(runtime, now):
            return False
        self.trials[runtime] = content
        return True

    def end(self, runtime: str, content: Content, *, well: bool) -> None:
        """A suspect that was let in is done; when it ended well, it is none any more."""
        if self.trials.get(runtime) == content:
            del self.trials[runtime]
        entry = self._known.get((runtime, content))
        if well and entry is not None and not entry.banned:
            del self._known[runtime, content]

    def doubt(self, runtime: str, now: float) -> float:
        """Seconds for which nobody is let in, unless a crash is seen before: the last suspect broke off."""
        _, until = self._doubts.get(runtime, ("", now))
        return max(0.0, until - now)

    def broke_alone(self, runtime: str, replica: str, began: float, now: float) -> None:
        """A suspect that was let in broke off, or found nobody to connect to; see `broke` for the arguments."""
        if not self._belongs(replica, began, now):
            self._doubts[runtime] = (replica, now + _TOGETHER)

    def broke(self, runtime: str, replica: str, content: Content, began: float, now: float, *, alone: bool) -> None:
        """An exchange with a replica broke off, as it does when the engine dies.

        Args:
            runtime: whose replica it is.
            replica: its name.
            content: what it was asked.
            began: when the exchange was sent there; a crash before that is another one's.
            now: seconds.
            alone: it was let in as a suspect, so that no other one was inside.
        """
        if self._belongs(replica, began, now):
            self._accuse(runtime, content, now, alone=alone)
        else:
            self._broken.append((runtime, replica, content, alone, now))

    def crashed(self, replica: str, now: float) -> list[Content]:
        """A replica's process ended by itself; what is known so far to have broken with it."""
        self._crashes = {name: at for name, at in self._crashes.items() if now - at <= _TOGETHER}
        self._crashes[replica] = now
        self._doubts = {runtime: doubt for runtime, doubt in self._doubts.items() if doubt[0] != replica}
        mine = [one for one in self._broken if one[1] == replica and now - one[4] <= _TOGETHER]
        self._broken = deque((one for one in self._broken if one[1] != replica), maxlen=_BROKEN)
        for runtime, _, content, alone, _ in mine:
            self._accuse(runtime, content, now, alone=alone)
        return [one[2] for one in mine]

    def known(self) -> list[Known]:
        """Everybody who is suspected or refused, for the process that goes on with them, oldest first."""
        return [Known(who, content.hex(), one.banned, one.until) for (who, content), one in self._known.items()]

    def take_over(self, known: Iterable[Known]) -> None:
        """Another process knew these."""
        for one in known:
            self._known[one.runtime, bytes.fromhex(one.content)] = _Entry(one.banned, one.until)

    def _belongs(self, replica: str, began: float, now: float) -> bool:
        """Whether what breaks off now was broken by a crash that is known."""
        crashed = self._crashes.get(replica)
        return crashed is not None and began <= crashed and now - crashed <= _TOGETHER

    def _accuse(self, runtime: str, content: Content, now: float, *, alone: bool) -> None:
        entry = self._known.pop((runtime, content), None)
        banned = entry is not None and (entry.banned or (alone and now < entry.until))
        self._known[runtime, content] = _Entry(banned, now + (BANNED if banned else SUSPECTED))
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
