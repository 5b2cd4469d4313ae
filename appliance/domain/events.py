"""What happens, as it is told to operators: one event after the other, and the closed set of their kinds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

Fact = str | int | float | bool | None


class Kind(NamedTuple):
    """One kind of event.

    Attributes:
        subject: what the event is about.
        meaning: what has happened.
    """

    subject: str
    meaning: str


KINDS = MappingProxyType(
    {
        "server.started": Kind("the version", "The appliance answers."),
        "server.stopping": Kind("the version", "It takes no new work and ends when its answers have."),
        "replica.state": Kind("the replica", "It has come to another state; the words say why."),
        "replica.crashed": Kind("the replica", "Its process ended though nobody asked for that; the words say why."),
        "replica.removed": Kind("the replica", "It is not in the configuration any more."),
        "swap.begun": Kind("the replica that goes", "It makes room for another one."),
        "backend.up": Kind("the backend", "Its probe succeeds."),
        "backend.down": Kind("the backend", "Its probe fails; the words say why."),
        "backend.removed": Kind("the backend", "It is not in the configuration any more."),
        "circuit.opened": Kind("the target", "It failed too often and is left alone for a while."),
        "circuit.tried": Kind("the target", "One request finds out whether it works again."),
        "circuit.closed": Kind("the target", "It works again."),
        "config.loaded": Kind("the file", "A configuration is in effect; the words say what it changed."),
        "config.refused": Kind("the file", "A configuration has mistakes; the one before it stays in effect."),
        "key.created": Kind("the key", "It was made."),
        "key.changed": Kind("the key", "It has another text or other settings."),
        "key.revoked": Kind("the key", "It opens nothing any more."),
        "key.removed": Kind("the key", "It is not among the stored keys any more."),
        "admin.action": Kind("what it was done to", "An administrator has given an order, whatever became of it."),
        "gpu.fault": Kind("the GPU", "It must not be used; the words say why."),
        "gpu.recovered": Kind("the GPU", "It may be used again."),
        "limits.refused": Kind("the key", "Requests that it sent in the last minute were refused, by their error."),
        "guardrails.acted": Kind("the key", "Guardrails found something in its requests of the last minute."),
        "recording.failed": Kind("`usage` or `events`", "It cannot be written to the disk and waits in memory."),
        "recording.resumed": Kind("`usage` or `events`", "It is being written again."),
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that has happened.

    Attributes:
        id: greater than that of every event before it, also of earlier runs: when it was told, in milliseconds since
            1970, or one more than the last id where that is greater.
        at: seconds since 1970.
        kind: one of `KINDS`.
        subject: what it is about, as `KINDS` says.
        words: one sentence or more, for people; never a secret, a prompt or an answer.
        facts: the same for programs.
    """

    id: int
    at: float
    kind: str
    subject: str
    words: str
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """When it happened: `2026-11-25T23:41:54.120Z`."""
        return datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def told(self) -> dict[str, object]:
        """As programs get it."""
        return {
            "id": self.id,
            "time": self.time,
            "kind": self.kind,
            "subject": self.subject,
            "words": self.words,
            "facts": self.facts,
        }


class Wanted(NamedTuple):
    """Which events somebody wants.

    Attributes:
        kinds: these; None for all.
        subject: only about this; "" for all.
    """

    kinds: Collection[str] | None = None
    subject: str = ""

    def has(self, event: Event) -> bool:
        """Whether an event is wanted."""
        return (self.kinds is None or event.kind in self.kinds) and self.subject in ("", event.subject)


def kinds_of(text: str) -> frozenset[str]:
    """Kinds by their names with commas between; `replica` is all that begin with `replica.`.

    Raises:
        ValueError: one of them is none.
    """
    found: set[str] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        named = {kind for kind in KINDS if kind == name or kind.startswith(f"{name.removesuffix('.*')}.")}
        if not named:
            groups = ", ".join(dict.fromkeys(kind.partition(".")[0] for kind in KINDS))
            raise ValueError(f"{name[:60]!r} is no kind of event; there are {groups}, and kinds like replica.state")
        found |= named
    return frozenset(found)
