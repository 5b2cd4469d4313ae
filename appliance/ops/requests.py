"""`/ops/v1/cancel`: requests under way, ended by whoever may."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from appliance.api.reply import error_reply, json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.domain.orders import Outcome
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.ops.gate import Gate


@dataclass(frozen=True, slots=True)
class RequestRoutes:
    """What the route needs.

    Attributes:
        under_way: exchanges that are not settled, by our own id.
    """

    gate: Gate
    under_way: Mapping[str, Exchange]

    def routes(self) -> list[Route]:
        """The route; `{id}` is the `internal_id` of a request in `/ops/v1/state`."""
        return [Route("POST", "/ops/v1/cancel/{id}", self._cancel)]

    def cancel(self, internal_id: str, by: str, request: Request) -> Outcome:
        """End a request, wherever it is: its client gets an error, its engine stops, its slot is free.

        Args:
            internal_id: our own id of it.
            by: who orders it, and may.
            request: that brought the order.

        Raises:
            GatewayError: `request_not_found`: it has ended by itself.
        """
        exchange = self.under_way.get(internal_id)
        if exchange is None:
            message = "No such request is under way: it has ended by itself."
            self.gate.audit("cancel", internal_id[:64], by, request, ok=False, detail=message)
            raise GatewayError("request_not_found", message)
        error = GatewayError("cancelled", "An administrator of the server has ended this request.")
        ok = exchange.end(error, error_reply(error, exchange.request_id, exchange.operation.dialect))
        detail = f"key {exchange.key or '-'}, model {exchange.model}, {exchange.phase}"
        self.gate.audit("cancel", exchange.request_id, by, request, ok=ok, detail=detail)
        return Outcome(ok=ok, changed=ok, state=exchange.phase, detail="" if ok else "It is part of another request.")

    async def _cancel(self, request: Request, internal_id: str) -> Reply:
        outcome = self.cancel(internal_id, self.gate.admit(request), request)
        return json_reply(asdict(outcome), 200 if outcome.ok else 409)
