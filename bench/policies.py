"""What do policies cost? Ours alone: with every one of them, with none, without guardrails, and with keys only.

The model server is a runtime here, as only those have lines to wait in. There is a slot for every client: what is
measured is the work of deciding, not waiting.
"""

import hashlib

from bench.gateways import Appliance, Place
from bench.machine import LOAD_CPU, compiled
from bench.program import KEY, on_cpu
from bench.work import Figures, Meter, Work, figures, stage

_LIMITS = (
    "{ requests_per_minute = 100000000, tokens_per_minute = 100000000000, concurrent = 100000, "
    "tokens_per_day = 100000000000, tokens_per_month = 100000000000 }"
)
_NONE = '[[models]]\nname = "mock"\nkind = "chat"\ntargets = ["server"]\n'
_KEY = f"""
[[keys]]
name = "bench"
hash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
"""
_ALL = f"""
[parameters]
most_choices = 2
most_tools = 64
{_KEY}
models = ["mo*"]
weight = 2
priority = 1
limits = {_LIMITS}
parameters = {{ most_choices = 4, allow = ["grammar"] }}

{_NONE}
limits = {_LIMITS}
"""
_GUARDED = f"""
{_ALL}
guardrails = ["pii", "words", "shapes"]

[[guardrails]]
name = "pii"
kind = "pii"
on = ["input", "output"]
action = "redact"

[[guardrails]]
name = "words"
kind = "keywords"
on = ["input", "output"]
action = "block"
words = ["project atlas", "zeus"]

[[guardrails]]
name = "shapes"
kind = "regex"
on = ["input", "output"]
action = "flag"
patterns = ["PRJ-[0-9]{{4,6}}"]
"""


class Policed(Appliance):
    """Ours, with the tables that are to be measured, and a model server that it starts itself."""

    def __init__(self, serve: str, tables: str, *, slots: bool) -> None:
        super().__init__(serve)
        self.tables = tables
        self.slots = slots

    def tables_of(self, place: Place) -> str:  # noqa: ARG002
        """The configuration less its place."""
        mock = on_cpu(LOAD_CPU, [compiled("mock"), "--port", "{port}", "--tokens", "100"])
        words = ", ".join(f'"{word}"' for word in mock)
        slots = "slots = 64" if self.slots else ""
        return f'[[runtimes]]\nname = "server"\nengine = "command"\ncommand = [{words}]\n{slots}\n{self.tables}'

    def fall_back(self) -> str:
        """There is nothing to do without: it is what is measured."""
        return ""


def variants(serve: str) -> dict[str, Policed]:
    """What is compared; `serve` is another build of ours, or ""."""
    return {
        "all": Policed(serve, _GUARDED, slots=True),
        "none": Policed(serve, _NONE, slots=False),
        "no guardrails": Policed(serve, _ALL, slots=True),
        "keys": Policed(serve, _KEY + _NONE, slots=False),
    }


def policy_rounds(serve: str, work: Work, rounds: int) -> dict[str, list[Figures]]:
    """Rounds of each, in turns, in a fresh process each time.

    Where a process has its memory makes it a fifth faster or slower for all of its life.

    Args:
        serve: another build of ours, or "".
        work: whole answers.
        rounds: how many of each.
    """
    gateways = variants(serve)
    found: dict[str, list[Figures]] = {name: [] for name in gateways}
    for _ in range(rounds):
        for name, gateway in gateways.items():
            with stage(gateway) as ready:
                meter = Meter(ready)
                found[name].append(figures(ready.load((*work.load, "--tokens", "0")), meter.read()))
    return found
