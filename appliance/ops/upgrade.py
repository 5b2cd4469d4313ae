"""`/ops/v1/upgrade`: another binary in place of the running one. Only on the operator's socket: it runs a program."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.domain.orders import Upgraded, UpgradeWanted
from appliance.errors import GatewayError
from appliance.ops.gate import Gate

_LARGEST = 2**16  # bytes of an order
_WANTED = msgspec.json.Decoder(UpgradeWanted)
_LONGEST = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class UpgradeRoutes:
    """What the route needs.

    Attributes:
        order: carries it out; returns when the other process serves, or why it does not.
    """

    gate: Gate
    order: Callable[[UpgradeWanted], Awaitable[Upgraded]]

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("POST", "/ops/v1/upgrade", self._upgrade)]

    async def _upgrade(self, request: Request, _: str) -> Reply:
        by = self.gate.admit(request)
        try:
            wanted = _WANTED.decode(await request.body.read(_LARGEST))
        except ValueError as error:
            raise GatewayError("invalid_payload", f"The body is not what an upgrade takes: {error}.") from error
        if not 0 < wanted.patience <= _LONGEST:
            raise GatewayError("invalid_payload", f"`patience` is above 0 and at most {_LONGEST:g}.", param="patience")
        done = await self.order(wanted)
        self.gate.audit("upgrade", wanted.binary, by, request, ok=done.ok, detail=done.detail or f"pid {done.pid}")
        return json_reply(asdict(done), 200 if done.ok else 409)
