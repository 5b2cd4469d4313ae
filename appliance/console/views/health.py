"""The page Health: what is well, what is not, and who has to do what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.console.figures import ago, size, span
from appliance.console.views.tones import tone
from appliance.domain.orders import Reloaded

_LITTLE = 10 * 2**30  # bytes free on a disk; as `appliance doctor`
State = Mapping[str, Any]
Disks = Mapping[str, tuple[str, tuple[float, float] | None]]
_RANK = {"error": 0, "warning": 1, "ok": 2}


class Finding(Protocol):
    """The result of one check; see `diagnosis.checks`."""

    @property
    def id(self) -> str:
        """Never changes."""
        ...

    @property
    def grade(self) -> str:
        """One of "ok", "warning", "error"."""
        ...

    @property
    def text(self) -> str:
        """What was seen."""
        ...

    @property
    def fix(self) -> str:
        """What to do; "" when it is well."""
        ...


@dataclass(frozen=True, slots=True)
class Examined:
    """What `appliance doctor` found on this machine.

    Attributes:
        findings: each with `id`, `grade`, `text` and `fix`; empty before the first look.
        age: seconds since it looked; None before the first look.
        trouble: why it found nothing out; "" when it did.
    """

    findings: Sequence[Finding] = ()
    age: float | None = None
    trouble: str = ""


def values(
    state: State, disks: Disks, file: Reloaded | None, dropped: int, examined: Examined | None = None
) -> dict[str, Any]:
    """All of it.

    Args:
        state: an `ops.snapshot`.
        disks: by purpose: a path, and bytes free and in all; None where it does not answer.
        file: what a reload of the configuration would do now; None where there is no file.
        dropped: lines of the log that could not be written.
        examined: what `appliance doctor` found; None where it cannot be asked.
    """
    checks = [
        *_models(state),
        *_circuits(state),
        *_gpus(state),
        *_disks(disks),
        *_records(state, dropped),
        *_file(file),
    ]
    wrong = [check for check in checks if check["grade"] != "ok"]
    found = {"checks": sorted(checks, key=lambda check: _RANK[check["grade"]]), "wrong": len(wrong)}
    return found | {"doctor": None if examined is None else _doctor(examined)}


def _doctor(examined: Examined) -> dict[str, Any]:
    rows = [_check(one.id, one.grade, one.text, one.fix) for one in examined.findings]
    return {
        "checks": sorted(rows, key=lambda check: _RANK[check["grade"]]),
        "wrong": sum(check["grade"] != "ok" for check in rows),
        "ago": None if examined.age is None else ago(max(examined.age, 0)),
        "trouble": examined.trouble,
    }


def _check(about: str, grade: str, text: str, fix: str = "") -> dict[str, str]:
    return {"about": about, "grade": grade, "tone": tone(grade), "text": text, "fix": fix}


def _models(state: State) -> list[dict[str, str]]:
    advice = {row["runtime"]: row["advice"] for row in state["replicas"] if row["advice"]}
    checks = []
    for row in state["models"]:
        word, reason = row["state"], row["reason"] or row["progress"]
        grade = {"good": "ok", "bad": "error", "busy": "warning"}.get(tone(word), "ok")
        said = {"stopped": "stopped; the next request starts it", "sleeping": "asleep; the next request wakes it"}
        text = said.get(word, word) + (f": {reason}" if reason else "")
        fix = next((advice[name] for name in row["targets"] if name in advice), "")
        checks.append(_check(f"Model {row['name']}", grade, text, fix if grade != "ok" else ""))
    return checks


def _circuits(state: State) -> list[dict[str, str]]:
    checks = []
    for row in state.get("circuits", ()):
        grade, when = ("error" if row["state"] == "open" else "warning"), span(row["next_try"])
        text = f"{row['failures']} failures in a row: {row['reason']}; it is tried again in {when}"
        checks.append(_check(f"Target {row['target']}", grade, text))
    suspects = state.get("suspects", {})
    if suspects.get("refused"):
        text = f"{suspects['refused']} kinds of request are refused, because an engine crashed of each of them twice"
        checks.append(_check("Requests", "warning", text))
    return checks or [_check("Circuits", "ok", "no target is left alone")]


def _gpus(state: State) -> list[dict[str, str]]:
    checks = []
    for gpu in state["gpus"]:
        trouble = gpu["fault"] or ("" if gpu["known"] else "it does not answer")
        fix = "`appliance doctor` and the log of the kernel say more." if trouble else ""
        checks.append(_check(f"GPU {gpu['index']}", "error" if trouble else "ok", trouble or gpu["name"], fix))
    return checks


def _disks(disks: Disks) -> list[dict[str, str]]:
    checks = []
    for purpose, (path, space) in disks.items():
        if space is None:
            checks.append(_check(f"Disk for {purpose}", "error", f"{path} does not answer"))
            continue
        text, little = f"{size(space[0])} free of {size(space[1])} at {path}", space[0] < _LITTLE
        fix = "Make room: logs, old models and compiled code of engines grow." if little else ""
        checks.append(_check(f"Disk for {purpose}", "warning" if little else "ok", text, fix))
    return checks


def _records(state: State, dropped: int) -> list[dict[str, str]]:
    trouble = str(state["usage"].get("trouble") or "")
    checks = [_check("Usage", "error" if trouble else "ok", trouble or "every request is recorded")]
    if dropped:
        fix = "Whoever reads the log is too slow, or its disk is full."
        checks.append(_check("Log", "warning", f"{dropped} lines could not be written", fix))
    return checks


def _file(file: Reloaded | None) -> list[dict[str, str]]:
    if file is None:
        return []
    if not file.ok:
        fix = "The configuration in effect stays until the file is right. `appliance check` says the same."
        return [_check("Configuration", "error", "\n".join(file.problems), fix)]
    if file.words() == Reloaded(ok=True).words():
        return [_check("Configuration", "ok", "the file is what is in effect")]
    return [
        _check(
            "Configuration", "warning", f"the file differs: {file.words()}", "`appliance reload` puts it into effect."
        )
    ]
