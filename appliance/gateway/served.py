"""What an answer's headers tell about how it came about, unless `server.gateway_headers` is off."""

from appliance.domain.http import Headers
from appliance.gateway.accounting import UNKNOWN_MODEL, Exchange


def served_by(exchange: Exchange) -> Headers:
    """The model, the target, the replica, and how long things took until now.

    `queue` is everything before the engine was asked: limits, waiting in line, a model that loads. `engine` is from
    there to the first byte of a stream, or to the end of an answer that is no stream.
    """
    accounts = exchange.accounts
    if not accounts.explain or exchange.model == UNKNOWN_MODEL:
        return []
    named = [("x-gateway-model", exchange.model), ("x-gateway-target", exchange.target)]
    headers = [header for header in named if header[1] and header[1].isascii()]
    if exchange.lease is not None:
        headers.append(("x-gateway-replica", exchange.lease.replica))
    if exchange.asked is not None:
        queued, worked = exchange.asked - exchange.started, accounts.clock() - exchange.asked
        headers.append(("x-gateway-queue-ms", f"{queued * 1000:.1f}"))
        headers.append(("x-gateway-engine-ms", f"{worked * 1000:.1f}"))
    return headers
