"""What does it cost to put a stream into another dialect? Ours alone: the flood as it is, and as Messages."""

from bench.gateways import Appliance
from bench.work import Figures, Meter, Work, figures, stage

_PATHS = {"translated": "/v1/messages", "as it is": "/v1/chat/completions"}


def translated_rounds(serve: str, work: Work, rounds: int) -> dict[str, list[Figures]]:
    """Rounds with a translation and rounds without, in turns, in one process.

    Args:
        serve: another build of ours, or "".
        work: the flood.
        rounds: how many of each.
    """
    found: dict[str, list[Figures]] = {name: [] for name in _PATHS}
    with stage(Appliance(serve), tokens=work.tokens) as ready:
        for _ in range(rounds):
            for name, path in _PATHS.items():
                meter = Meter(ready)
                result = ready.load((*work.load, "--tokens", str(work.tokens), "--path", path))
                found[name].append(figures(result, meter.read()))
    return found
