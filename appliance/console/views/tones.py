"""Which colour a state has: "good", "busy" (it will pass), "bad" (somebody has to act) or "" (nothing to say)."""

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


def tone(state: str) -> str:
    """The colour of a word of `domain.status.ReplicaState`, `health.report`, a circuit or a finding."""
    return _TONES.get(state, "")
