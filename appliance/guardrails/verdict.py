"""What a check found. A finding says what kind of thing it was and never holds the thing itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Action = Literal["block", "redact", "flag"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One match.

    Attributes:
        guardrail: the name of the guardrail, `guardrail_key` in an answer.
        action: what the guardrail does about it.
        category: what it is: "email", "card" …, or what the configuration calls it.
        message: the same for people.
    """

    guardrail: str
    action: Action
    category: str
    message: str

    def shown(self) -> dict[str, str]:
        """As an entry of `findings` in an error body."""
        return {"category": self.category, "message": self.message}


@dataclass(frozen=True, slots=True)
class Block:
    """The answer of a guardrail that lets nothing through.

    Attributes:
        guardrail: its name.
        findings: of this guardrail; at least one, each category once.
    """

    guardrail: str
    findings: tuple[Finding, ...]


def blocked(findings: list[Finding]) -> Block | None:
    """The block that follows from some findings: by the guardrail that found something first; None when none blocks."""
    first = next((finding for finding in findings if finding.action == "block"), None)
    if first is None:
        return None
    own = dict.fromkeys(finding for finding in findings if finding.guardrail == first.guardrail)
    return Block(first.guardrail, tuple(own))


def told(findings: Iterable[Finding]) -> str:
    """Some findings in one line of a log: `pii:email:redact,words:keyword:flag`."""
    lines = (f"{finding.guardrail}:{finding.category}:{finding.action}" for finding in findings)
    return ",".join(dict.fromkeys(lines))
