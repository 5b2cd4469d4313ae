"""What an answer's headers tell about how it came about, unless `server.gateway_headers` is off."""

from collections.abc import Iterable

from appliance.domain.http import Headers
from appliance.gateway.accounting import UNKNOWN_MODEL, Exchange
from appliance.guardrails.verdict import Finding


def served_by(exchange: Exchange) -> Headers:
    """The model, the target, the replica, and how long things took until now.

    `queue` is everything before the engine was asked: limits, waiting in line, a model that loads. `engine` is from
    there to the first byte of a stream, or to the end of an answer that is no stream.
    """
    accounts = exchange.accounts
    marks = marks_of(exchange.findings) if exchange.findings else []
    if not accounts.explain or exchange.model == UNKNOWN_MODEL:
        return marks
    named = [("x-gateway-model", exchange.model), ("x-gateway-target", exchange.target)]
    headers = marks + [header for header in named if header[1] and header[1].isascii()]
    if exchange.lease is not None:
        headers.append(("x-gateway-replica", exchange.lease.replica))
        if exchange.lease.chosen:
            headers.append(("x-gateway-balance", exchange.lease.chosen))
    if exchange.asked is not None:
        queued, worked = exchange.asked - exchange.started, accounts.clock() - exchange.asked
        headers.append(("x-gateway-queue-ms", f"{queued * 1000:.1f}"))
        headers.append(("x-gateway-engine-ms", f"{worked * 1000:.1f}"))
    return headers


def marks_of(findings: Iterable[Finding]) -> Headers:
    """Which guardrails let a text pass with a mark, or changed it."""
    headers: Headers = []
    for action, header in (("flag", "x-guardrail-flagged"), ("redact", "x-guardrail-redacted")):
        names = dict.fromkeys(finding.guardrail for finding in findings if finding.action == action)
        headers += [(header, ",".join(names))] if names else []
    return headers
