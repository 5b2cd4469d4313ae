"""The page Now: is it fast, is it fair, what broke."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from appliance.console.figures import NONE, ago, count, rate, size, span
from appliance.console.pulse import SECONDS, Pulse
from appliance.console.sparkline import sparkline
from appliance.console.views.attention import attention
from appliance.console.views.tones import tone, word_of
from appliance.domain.events import Event

State = Mapping[str, Any]
_RECENTLY = 10  # seconds that "now" is
_RUNS = ("ready", "starting", "loading", "draining", "sleeping")
_TONES = {
    **dict.fromkeys(("replica.crashed", "backend.down", "circuit.opened", "gpu.fault", "recording.failed"), "bad"),
    **dict.fromkeys(("config.refused", "limits.refused", "guardrails.acted", "server.stopping"), "busy"),
    **dict.fromkeys(("server.started", "backend.up", "circuit.closed", "gpu.recovered", "recording.resumed"), "good"),
}
_RANK = {"bad": 0, "busy": 1, "good": 2, "": 3}  # what is shown first
_COLOURS = ("one", "two", "three", "four")


PARTS = ("now-attention", "now-figures", "now-models", "now-replicas", "now-gpus", "now-others", "now-events")


def values(state: State, pulse: Pulse, events: Iterable[Event] = ()) -> dict[str, Any]:
    """All of it; `state` is an `ops.snapshot`, and of the events the newest comes first."""
    return {
        "attention": attention(state),
        "tiles": figures(pulse),
        "models": models(state),
        "replicas": replicas(state),
        "gpus": gpus(state),
        "backends": backends(state),
        "events": [_event(event, str(state.get("time", ""))) for event in events],
    }


def figures(pulse: Pulse) -> list[dict[str, Any]]:
    """The tiles at the top."""
    seconds = list(pulse.seconds)
    last = seconds[-_RECENTLY:]
    share = 1 / len(last) if last else 0.0
    median, slow = pulse.first_token()
    present = seconds[-1] if seconds else None
    failed = sum(second.failed for second in seconds)
    firsts = [max(second.first, default=None) for second in seconds]
    return [
        _tile(
            "Requests a second",
            rate(sum(second.requests for second in last) * share),
            _few(failed),
            _line(seconds, "requests"),
            tone="bad" if failed else "",
        ),
        _tile("Tokens a second", rate(sum(second.tokens for second in last) * share), "", _line(seconds, "tokens")),
        _tile("First token", span(median), f"p95 {span(slow)}" if slow is not None else "", sparkline(firsts, SECONDS)),
        _tile("Under way", count(present.in_flight if present else 0), "", _line(seconds, "in_flight")),
        _tile(
            "Waiting",
            count(present.waiting if present else 0),
            "for a model or a free slot" if present and present.waiting else "",
            _line(seconds, "waiting"),
            tone="busy" if present and present.waiting else "",
        ),
    ]


def models(state: State) -> list[dict[str, Any]]:
    """A row for each public name."""
    return [
        {
            "name": row["name"],
            "state": row["state"],
            "tone": tone(str(row["state"])),
            "targets": ", ".join(row["targets"]) or NONE,
            "busy": row["in_flight"],
            "requests": rate(row["requests_per_second"]),
            "tokens": rate(row["output_tokens_per_second"]),
            "first": span(row["first_token_p95"]),
            "words": row["reason"] or row["progress"],
        }
        for row in sorted(state["models"], key=lambda row: (_RANK[tone(str(row["state"]))], str(row["name"])))
    ]


def replicas(state: State) -> list[dict[str, Any]]:
    """A row for each replica of `/ops/v1/state`."""
    waiting = {line["runtime"]: line["waiting"] for line in state.get("queues", ())}
    first = {row["runtime"]: row["replica"] for row in reversed(state["replicas"])}
    return [
        {
            "replica": row["replica"],
            "state": word_of(row),
            "tone": tone(word_of(row)),
            "since": span(row["seconds"]),
            "engine": row["engine"],
            "gpus": ", ".join(map(str, row["gpus"])) or NONE,
            "memory": size(row["memory"]) if row["memory"] else NONE,
            "busy": f"{row['busy']} of {row['slots']}" if row["slots"] else str(row["busy"]),
            "waiting": waiting.get(row["runtime"], 0) if first[row["runtime"]] == row["replica"] else "",
            "restarts": row["restarts"],
            "words": _words(row),
            "advice": row["advice"],
            "percent": row["percent"],
            "orders": _orders(row["state"]),
        }
        for row in sorted(state["replicas"], key=lambda row: _RANK[tone(word_of(row))])
    ]


def gpus(state: State) -> list[dict[str, Any]]:
    """A card for each GPU, with who has how much of its memory."""
    return [_gpu(gpu, state["replicas"]) for gpu in state["gpus"]]


def backends(state: State) -> list[dict[str, Any]]:
    """A row for each backend; a circuit that is open is told with it."""
    rows = []
    for row in state["backends"]:
        word = {None: "unknown", True: "ready", False: "unhealthy"}[row["healthy"]]
        rows.append(
            {
                "name": row["name"],
                "state": word,
                "tone": tone(word),
                "engine": row["engine"],
                "words": row["reason"],
            }
        )
    return rows


def _event(event: Event, now: str) -> dict[str, str]:
    passed = (datetime.fromisoformat(now) - datetime.fromisoformat(event.time)).total_seconds() if now else None
    return {
        "time": event.time[11:19] if event.time[:10] == now[:10] else f"{event.time[5:10]} {event.time[11:19]}",
        "whole": f"{event.time[:10]} {event.time[11:19]} UTC",
        "ago": "" if passed is None else ago(passed),
        "kind": event.kind,
        "tone": _TONES.get(event.kind, ""),
        "subject": event.subject,
        "words": event.words,
    }


def _tile(name: str, figure: str, more: str, line: object, tone: str = "") -> dict[str, Any]:
    return {"name": name, "figure": figure, "more": more, "line": line, "tone": tone}


def _line(seconds: Sequence[Any], member: str) -> object:
    return sparkline([getattr(second, member) for second in seconds], SECONDS)


def _few(failed: int) -> str:
    return f"{count(failed)} failed in {SECONDS // 60} min" if failed else ""


def _words(row: Mapping[str, Any]) -> str:
    parts = [row["reason"].rstrip("."), row["stage"] or row["progress"]]
    text = ". ".join(part for part in parts if part)
    return f"{text}." if text and row["advice"] else text


def _orders(state: str) -> list[tuple[str, str]]:
    if state in _RUNS:
        return [("restart", "Restart"), ("unload", "Unload")]
    return [] if state == "stopping" else [("load", "Load")]


def _gpu(gpu: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Memory as promised to our replicas; what is used beyond that is others'."""
    total, at = max(gpu["total"], 1), 0.0
    ours = [
        (row["replica"], row["memory"])
        for row in rows
        if gpu["index"] in row["gpus"] and row["memory"] and row["state"] in _RUNS
    ]
    others = gpu["used"] - sum(amount for _, amount in ours)
    named = [(name, amount, _COLOURS[number % len(_COLOURS)]) for number, (name, amount) in enumerate(ours)]
    named += [("others" if ours else "in use", others, "other")] if others > total / 100 else []
    pieces = []
    for name, amount, colour in named:
        width = min(amount / total * 100, 100 - at)
        pieces.append({"name": name, "size": size(amount), "tone": colour, "at": f"{at:.2f}", "width": f"{width:.2f}"})
        at += width
    facts = [
        (gpu["utilization"], "{:.0f} % busy"),
        (gpu["temperature"], "{:.0f} °C"),
        (gpu["power"], "{:.0f} W"),
    ]
    told = [words.format(value) for value, words in facts if value is not None]
    return {
        "index": gpu["index"],
        "name": gpu["name"],
        "fault": gpu["fault"] or ("" if gpu["known"] else "It does not answer."),
        "pieces": pieces,
        "free": size(gpu["free"]),
        "total": size(gpu["total"]),
        "words": f"{size(gpu['used'])} of {size(gpu['total'])} used",
        "facts": " · ".join(told),
    }
