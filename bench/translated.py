"""What does it cost to put a stream into another dialect? Ours alone: the flood as it is, and as Messages.

Of vLLM a translated stream asks for the counts in every event, so that the first one can say how long the prompt is: no
two events are alike then, which is the most work that there is.
"""

from bench.gateways import Appliance
from bench.work import Figures, Meter, Work, figures, stage

_ROWS = {
    "translated, vLLM": ("vllm", "/v1/messages"),
    "translated": ("openai", "/v1/messages"),
    "as it is": ("openai", "/v1/chat/completions"),
}


def translated_rounds(serve: str, work: Work, rounds: int) -> dict[str, list[Figures]]:
    """Rounds with a translation and rounds without, in turns.

    Args:
        serve: another build of ours, or "".
        work: the flood.
        rounds: how many of each.
    """
    found: dict[str, list[Figures]] = {name: [] for name in _ROWS}
    for _ in range(rounds):
        for name, (engine, path) in _ROWS.items():
            with stage(Appliance(serve, engine=engine), tokens=work.tokens) as ready:
                meter = Meter(ready)
                result = ready.load((*work.load, "--tokens", str(work.tokens), "--path", path))
                found[name].append(figures(result, meter.read()))
    return found
