"""What happens to requests too often to be told one by one: counted, and told once a minute for each key."""

from collections import Counter, defaultdict

import trio

from appliance.errors import TABLE
from appliance.events.witnesses import Tell

EVERY = 60.0  # seconds
REFUSALS = frozenset(code for code, row in TABLE.items() if row.status == 429) | {"queue_full", "queue_timeout"}
_MOST_KEYS = 1000  # of one minute; the others are told together
_OTHERS = "_others"


class Tally:
    """Counts refusals and what guardrails found. It never holds anything of a request but its key's name."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._found: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def saw(self, key: str, code: str, findings: str) -> None:
        """An exchange has ended with an error code of ours, or with findings as a log line has them."""
        if code in REFUSALS:
            self._refused[self._name(key, self._refused)][code] += 1
        if findings:
            self._found[self._name(key, self._found)].update(findings.split(","))

    def _name(self, key: str, known: defaultdict[str, Counter[str]]) -> str:
        return key if key in known or len(known) < _MOST_KEYS else _OTHERS

    def flush(self) -> None:
        """Tell what was counted."""
        refused, self._refused = self._refused, defaultdict(Counter)
        found, self._found = self._found, defaultdict(Counter)
        for key, counts in refused.items():
            words = f"{_times(counts.total(), 'request')} of {key} {_were(counts.total())} refused: {_listed(counts)}."
            self._tell("limits.refused", key, words, **counts)
        for key, counts in found.items():
            words = f"Guardrails found something in requests of {key}: {_listed(counts)}."
            self._tell("guardrails.acted", key, words, **counts)

    async def run(self) -> None:
        """Tell each minute, and at the end."""
        try:
            while True:
                await trio.sleep(EVERY)
                self.flush()
        finally:
            self.flush()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} \u00d7 {times}" for name, times in counts.most_common())


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
