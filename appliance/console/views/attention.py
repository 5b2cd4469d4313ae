"""What somebody has to look at, the worst first: what it is, whom it hurts, and what to do. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.console.figures import sentence, span
from appliance.console.views.tones import tone, word_of

State = Mapping[str, Any]
_ORDERS = {"quarantined": [("load", "Load")], "blocked": [("load", "Load")], "unhealthy": [("restart", "Restart")]}


def attention(state: State) -> list[dict[str, Any]]:
    """A row for each thing that does not work as it should; none when all is well. `state` is an `ops.snapshot`."""
    rows = [*_replicas(state), *_models(state), *_backends(state), *_gpus(state), *_circuits(state), *_records(state)]
    return sorted(rows, key=lambda row: row["tone"] != "bad")


def _row(about: str, word: str, text: str, advice: str = "", **more: Any) -> dict[str, Any]:
    """One thing; `logs` is a replica whose log says more, `hurts` are models that cannot be asked because of it."""
    shade = tone(word) or "bad"
    rest = {"since": "", "logs": "", "hurts": "", "orders": [], "replica": ""}
    return {"about": about, "word": word, "tone": shade, "text": text, "advice": advice, **rest, **more}


def _replicas(state: State) -> list[dict[str, Any]]:
    rows = []
    for row in state["replicas"]:
        word = word_of(row)
        if tone(word) != "bad" and word != "backoff":
            continue
        hurt = [
            one["name"] for one in state["models"] if row["runtime"] in one["targets"] and tone(one["state"]) == "bad"
        ]
        text = str(row["reason"]) or "It does not answer its health probe."
        rows.append(
            _row(
                row["replica"],
                word,
                sentence(text),
                row["advice"],
                since=span(row["seconds"]),
                logs=row["replica"],
                hurts=", ".join(name for name in hurt if name != row["runtime"]),
                orders=_ORDERS.get(word, []),
                replica=row["replica"],
            )
        )
    return rows


def _models(state: State) -> list[dict[str, Any]]:
    """Those that no process of ours is to blame for, and those that requests wait for while they have no turn."""
    ours = {row["runtime"] for row in state["replicas"]}
    ill = [row for row in state["models"] if tone(row["state"]) == "bad" and not ours & set(row["targets"])]
    rows = [
        _row(row["name"], row["state"], sentence(row["reason"] or "none of its targets can be asked")) for row in ill
    ]
    for row in state["models"]:
        if row["state"] == "stopped" and row["reason"] and row.get("waiting"):
            requests = f"{row['waiting']} requests wait" if row["waiting"] > 1 else "One request waits"
            rows.append(_row(row["name"], "waits", f"{sentence(row['reason'])} {requests}."))
    return rows


def _backends(state: State) -> list[dict[str, Any]]:
    fix = "Is it running, is its `url` right, does a firewall stand in between?"
    ill = [row for row in state["backends"] if row["healthy"] is False]
    return [
        _row(row["name"], "unhealthy", sentence(row["reason"]), fix if "connect" in row["reason"] else "")
        for row in ill
    ]


def _gpus(state: State) -> list[dict[str, Any]]:
    fix = "Reset the GPU or restart the machine; the page Health says more."
    told = [(gpu["index"], gpu["fault"] or ("" if gpu["known"] else "It does not answer.")) for gpu in state["gpus"]]
    return [_row(f"GPU {index}", "fault", trouble, fix) for index, trouble in told if trouble]


def _circuits(state: State) -> list[dict[str, Any]]:
    found: Sequence[Mapping[str, Any]] = state.get("circuits", ())
    return [
        _row(
            row["target"],
            "left alone" if row["state"] == "open" else "half_open",
            f"{row['failures']} failures in a row: {row['reason']}. It is tried again in {span(row['next_try'])}.",
        )
        for row in found
    ]


def _records(state: State) -> list[dict[str, Any]]:
    rows = []
    for what in ("usage", "events"):
        kept = state.get(what) or {}
        if trouble := kept.get("trouble"):
            lost = f"{kept['waiting']} wait in memory, {kept['dropped']} are lost"
            rows.append(_row(f"The record of {what}", "failed", f"{trouble}. {lost}."))
    return rows
