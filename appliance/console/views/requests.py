"""The page Requests: what is under way, and what has ended."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from appliance.console.figures import NONE, count, rate, span
from appliance.console.pulse import Ended

PARTS = ("requests-now", "requests-failed", "requests-recent")
MOST = 100  # of those that have ended
MOST_FAILED = 10
_PHASES = {
    "request": ("arriving", ""),
    "loading": ("model loads", "busy"),
    "queued": ("in line", "busy"),
    "first_byte": ("thinking", "good"),
    "streaming": ("streaming", "good"),
}
_OUTCOMES = {"ok": "good", "client_gone": "busy"}
State = Mapping[str, Any]


def values(state: State, recent: Iterable[Ended], wanted: str = "", failed: Iterable[Ended] = ()) -> dict[str, Any]:
    """All of it.

    Args:
        state: an `ops.snapshot`.
        recent: the newest first.
        failed: those of them whose fault is ours or an engine's, however long ago.
        wanted: a text that shown rows have somewhere; "" for all.
    """
    under_way = [_under_way(row) for row in state["requests"]]
    return {
        "wanted": wanted,
        "in_flight": state["in_flight"],
        "left": max(state["in_flight"] - len(under_way), 0),
        "under_way": [row for row in under_way if _has(row, wanted)],
        "failed": _first(MOST_FAILED, failed, wanted),
        "ended": _first(MOST, recent, wanted),
    }


def _under_way(row: Mapping[str, Any]) -> dict[str, Any]:
    word, tone = _PHASES.get(row["phase"], (row["phase"], ""))
    streaming = row["seconds"] - row["first_token"] if row["first_token"] is not None else 0.0
    return {
        "id": row["id"],
        "internal_id": row["internal_id"],
        "key": row["key"] or NONE,
        "model": row["model"],
        "target": row["target"] or NONE,
        "operation": row["operation"],
        "word": word,
        "tone": tone,
        "peer": row["peer"],
        "seconds": span(row["seconds"]),
        "first": span(row["first_token"]),
        "tokens": count(row["tokens"]) if row["tokens"] else NONE,
        "rate": rate(row["tokens"] / streaming) if row["tokens"] and streaming > 0.5 else NONE,
    }


def _ended(one: Ended) -> dict[str, Any]:
    record, usage = one.record, one.record.usage
    streaming = record.duration_s - record.ttft_s if record.ttft_s is not None else 0.0
    return {
        "time": datetime.fromtimestamp(one.date, UTC).strftime("%H:%M:%S"),
        "whole": datetime.fromtimestamp(one.date, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "id": record.request_id,
        "key": record.key or NONE,
        "model": record.model,
        "target": record.target or NONE,
        "operation": record.operation,
        "word": str(record.status) if record.outcome != "client_gone" else "client left",
        "tone": _OUTCOMES.get(record.outcome, "bad" if record.status >= 500 else "busy"),
        "why": ", ".join(part for part in (record.error_code, record.guardrails) if part),
        "peer": record.peer,
        "seconds": span(record.duration_s),
        "queued": span(record.queued_s) if record.queued_s >= 0.001 else NONE,
        "first": span(record.ttft_s),
        "tokens": f"{count(usage.input)} / {count(usage.output)}" if usage.input or usage.output else NONE,
        "rate": rate(usage.output / streaming) if streaming > 0.05 and usage.output > 1 else NONE,
    }


def _first(most: int, ended: Iterable[Ended], wanted: str) -> list[dict[str, Any]]:
    """As many rows as are shown, and none beside them: a page that is looked at is made anew each second."""
    return list(islice((row for row in map(_ended, ended) if _has(row, wanted)), most))


def _has(row: Mapping[str, Any], wanted: str) -> bool:
    text = wanted.strip().lower()
    return not text or any(text in str(value).lower() for value in row.values())
