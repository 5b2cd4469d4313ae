"""What does it cost to look through a stream? Ours alone: the flood as it is, and with its text redacted."""

from bench.gateways import Appliance
from bench.work import Figures, Meter, Work, figures, stage

_GUARDED = """
[[models]]
name = "guarded"
kind = "chat"
targets = ["mock/mock"]
guardrails = ["pii"]

[[guardrails]]
name = "pii"
kind = "pii"
on = ["input", "output"]
action = "redact"
"""
_MODELS = {"guarded": "guarded", "as it is": "mock"}


def guarded_rounds(serve: str, work: Work, rounds: int) -> dict[str, list[Figures]]:
    """Rounds with guardrails and rounds without, in turns, in one process.

    Args:
        serve: another build of ours, or "".
        work: the flood.
        rounds: how many of each.
    """
    found: dict[str, list[Figures]] = {name: [] for name in _MODELS}
    with stage(Appliance(serve, more=_GUARDED), tokens=work.tokens) as ready:
        for _ in range(rounds):
            for name, model in _MODELS.items():
                meter = Meter(ready)
                result = ready.load((*work.load, "--tokens", str(work.tokens), "--model", model))
                found[name].append(figures(result, meter.read()))
    return found
