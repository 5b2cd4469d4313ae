"""Whether a ready replica is alive, from what was seen of it. Pure.

An engine that answers its health probe can be dead, and one that does not can be busy:

- vLLM's health says only that its engine was not marked dead; a hung one answers for ever;
- llama-server's health shares its threads with the streams; with more streams than threads it is silent and fine.

So what counts is whether tokens move while requests run.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Pulse(StrEnum):
    """What the observations say."""

    WELL = "well"
    DEGRADED = "degraded"  # its health fails and its tokens move: say so, leave it alone
    DEAD = "dead"  # its health fails, nothing moves, and that for long
    STALLED = "stalled"  # requests run and nothing moves


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is too long, in seconds; 0 is never.

    Attributes:
        dead: health failing and nothing moving.
        stalled: requests running and nothing moving.
        refused: it says itself that it cannot serve, which a busy one does not.
    """

    dead: float = 30.0
    stalled: float = 120.0
    refused: float = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered from one look to the next.

    Attributes:
        tokens: the engine's own count plus what was relayed, whatever their unit; it only has to move.
        moved: when it moved last, or when nothing ran.
        failing: since when the health fails; None while it does not.
    """

    tokens: float
    moved: float
    failing: float | None = None


def look(before: Seen, now: float, *, healthy: bool, busy: bool, tokens: float) -> Seen:
    """What is known after one more look.

    Args:
        before: after the look before.
        now: monotonic seconds.
        healthy: the health probe succeeded.
        busy: at least one exchange is under way.
        tokens: see `Seen`.
    """
    moved = now if tokens != before.tokens or not busy else before.moved
    failing = None if healthy else before.failing if before.failing is not None else now
    return replace(before, tokens=tokens, moved=moved, failing=failing)


def pulse(seen: Seen, now: float, limits: Limits, *, busy: bool, refused: bool) -> Pulse:
    """What to make of it; `refused` when it answered that it cannot serve."""
    still = now - seen.moved if busy else 0.0
    if busy and limits.stalled and still >= limits.stalled:
        return Pulse.STALLED
    if seen.failing is None:
        return Pulse.WELL
    enough = min(limits.refused, limits.dead) if refused else limits.dead
    quiet = not busy or still >= enough
    return Pulse.DEAD if limits.dead and now - seen.failing >= enough and quiet else Pulse.DEGRADED
