"""What an answer's headers tell about how it came about, unless `server.gateway_headers` is off."""

from collections.abc import Iterable
from functools import lru_cache

from appliance.domain.http import Headers
from appliance.gateway.accounting import UNKNOWN_MODEL, Exchange
from appliance.guardrails.verdict import Finding


@lru_cache(maxsize=4096)  # all of these come from the configuration; a client's own words are never among them
def _named(model: str, target: str, replica: str, chosen: str) -> tuple[tuple[str, str], ...]:
    """The headers that hold names, where those can be in a header and are known."""
    named = (("model", model), ("target", target), ("replica", replica), ("balance", chosen))
    return tuple((f"x-gateway-{what}", name) for what, name in named if name and name.isascii())


def served_by(exchange: Exchange) -> Headers:
    """The model, the target, the replica, and how long things took until now.

    `queue` is everything before the engine was asked: limits, waiting in line, a model that loads. `engine` is from
    there to the first byte of a stream, or to the end of an answer that is no stream.
    """
    accounts, lease = exchange.accounts, exchange.lease
    marks = marks_of(exchange.findings) if exchange.findings else []
    if not accounts.explain or exchange.model == UNKNOWN_MODEL:
        return marks
    replica, chosen = (lease.replica, lease.chosen) if lease is not None else ("", "")
    asked = exchange.asked
    if asked is None:
        return [*marks, *_named(exchange.model, exchange.target, replica, chosen)]
    return [
        *marks,
        *_named(exchange.model, exchange.target, replica, chosen),
        ("x-gateway-queue-ms", "%.1f" % ((asked - exchange.started) * 1000)),
        ("x-gateway-engine-ms", "%.1f" % ((accounts.clock() - asked) * 1000)),
    ]


def marks_of(findings: Iterable[Finding]) -> Headers:
    """Which guardrails let a text pass with a mark, or changed it."""
    headers: Headers = []
    for action, header in (("flag", "x-guardrail-flagged"), ("redact", "x-guardrail-redacted")):
        names = dict.fromkeys(finding.guardrail for finding in findings if finding.action == action)
        headers += [(header, ",".join(names))] if names else []
    return headers
