"""Which colour a state has: "good", "busy" (it will pass), "bad" (somebody has to act) or "" (nothing to say)."""

from collections.abc import Mapping
from typing import Any

_TONES = {
    "ready": "good",
    "ok": "good",
    "healthy": "good",
    "closed": "good",
    "starting": "busy",
    "loading": "busy",
    "draining": "busy",
    "stopping": "busy",
    "backoff": "busy",
    "waits": "busy",
    "half_open": "busy",
    "unknown": "busy",
    "warning": "busy",
    "quarantined": "bad",
    "blocked": "bad",
    "unhealthy": "bad",
    "open": "bad",
    "error": "bad",
    "fault": "bad",
    "failed": "bad",
}


def word_of(replica: Mapping[str, Any]) -> str:
    """The state of a process as it is shown: one that is ready and does not answer its health probe is unhealthy."""
    return "unhealthy" if replica["state"] == "ready" and not replica["healthy"] else str(replica["state"])


def tone(state: str) -> str:
    """The colour of a word of `domain.status.ReplicaState`, `health.report`, a circuit or a finding."""
    return _TONES.get(state, "")
