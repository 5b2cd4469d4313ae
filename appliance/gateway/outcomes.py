"""What follows from the end of an attempt: a slot is free, a trial is over, a target is judged, a suspect is known."""

from appliance.breakers.panel import Panel
from appliance.breakers.verdict import verdict
from appliance.gateway.accounting import Exchange
from appliance.gateway.queues import Queues
from appliance.gateway.trials import Trials

_BROKEN_OFF = frozenset({"backend_died", "backend_unreachable", "stream_truncated", "empty_response"})
_WORDS = {
    "backend_unreachable": "no connection",
    "backend_died": "it broke off its answers",
    "backend_timeout": "no answer in time",
    "stream_truncated": "its answers ended too early",
    "empty_response": "its answers were empty",
    "upstream_protocol": "it broke the protocol",
    "redirect_refused": "it answered with a redirect",
}


class Outcomes:
    """One for the whole process."""

    def __init__(self, panel: Panel, queues: Queues, trials: Trials) -> None:
        self.panel = panel
        self.queues = queues
        self.trials = trials
        panel.opens = queues.look_again

    def report(self, now: float) -> dict[str, object]:
        """Lines, targets that are left alone, suspects of crashes: for the operator."""
        suspects, refused = self.trials.suspects.count(now)
        return {
            "queues": self.queues.report(),
            "circuits": self.panel.report(now),
            "suspects": {"suspected": suspects, "refused": refused},
        }

    def ended(self, exchange: Exchange, outcome: str, status: int, code: str, now: float) -> None:
        """An attempt has ended, with its exchange or before another one; the exchange still has what it held.

        Args:
            exchange: whose attempt it was.
            outcome: as in `ExchangeRecord`.
            status: what the client was, or would have been, sent.
            code: of our own error, where there was one.
            now: seconds.
        """
        target = exchange.aim
        if target is None:
            return
        well = outcome == "ok"
        failed = outcome == "backend_error" and status >= 500  # as an engine may answer all it has before it dies
        if exchange.trial is not None:
            innocent = well or (outcome == "backend_error" and not failed)
            if not innocent and exchange.asked is not None:  # also where it left: its engine may die of it yet
                self.trials.broke(target.owner, exchange, now)
            self.trials.over(target.owner, exchange, well=innocent)
        elif exchange.content and (failed or code in _BROKEN_OFF):
            self.trials.broke(target.owner, exchange, now)
        if exchange.place is not None:
            self.queues.free(exchange, _used(exchange, well=well), now)
        if target.callers or (well and self.panel.empty):
            return  # what one caller's own key meets says nothing to the others
        said, why = verdict(outcome, status, code, target.engine), _WORDS.get(code, f"status {status}")
        began = exchange.asked or exchange.started
        self.panel.ended(target, said, began, now, why, lease=exchange.lease, broke=code in _BROKEN_OFF)


def _used(exchange: Exchange, *, well: bool) -> int | None:
    """What the engine is known to have done: its own count; None where it worked and never said."""
    usage = exchange.usage
    if usage.input or usage.output:
        return usage.input + usage.output
    return None if well or exchange.phase in ("first_byte", "streaming") else 0
