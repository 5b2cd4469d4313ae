"""`/ops/v1`: what the replicas say, and what they shall do. Every route wants a key with the scope `admin`."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.domain.orders import Orders, Outcome, Reloaded
from appliance.errors import GatewayError
from appliance.ops.following import LogFeed, following, wants_to_follow
from appliance.ops.gate import Gate

_MOST_LINES = 200
_YES = ("1", "true")
Order = Callable[[str], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class OrderRoutes:
    """What the routes need.

    Attributes:
        reload: puts the configuration file into effect, or with True says what that would change; None without a file.
    """

    gate: Gate
    orders: Orders[Any]
    reload: Callable[[bool], Awaitable[Reloaded]] | None = None

    def routes(self) -> list[Route]:
        """The routes; `{id}` is a runtime or one replica of it."""
        table = [Route("POST", f"/ops/v1/{name}/{{id}}", partial(self._order, name)) for name in self.known()]
        return [
            Route("GET", "/ops/v1/logs/{id}", self._logs),
            Route("GET", "/ops/v1/explain/{id}", self._explain),
            *table,
            *([Route("POST", "/ops/v1/reload", self._reload)] if self.reload else []),
        ]

    def known(self) -> dict[str, Order]:
        """The orders to runtimes and replicas, by name."""
        orders = self.orders
        return {"load": orders.load, "unload": orders.unload, "restart": orders.restart, "drain": orders.drain}

    async def carry_out(self, action: str, name: str, by: str, request: Request) -> Outcome:
        """Carry out an order, whatever asked for it, and tell the audit.

        Args:
            action: a name of `known`.
            name: of a runtime or a replica.
            by: who gives it, and may.
            request: that brought it.

        Raises:
            GatewayError: `model_not_found`.
        """
        try:
            outcome = await self.known()[action](name)
        except GatewayError as error:
            self.gate.audit(action, name, by, request, ok=False, detail=error.message)
            raise
        self.gate.audit(action, name, by, request, ok=outcome.ok, detail=outcome.detail)
        return outcome

    async def _order(self, action: str, request: Request, name: str) -> Reply:
        by = self.gate.admit(request)
        outcome = await self.carry_out(action, name, by, request)
        return json_reply(asdict(outcome), 200 if outcome.ok else 409)

    async def _reload(self, request: Request, _: str) -> Reply:
        by = self.gate.admit(request)
        dry_run = parse_qs(request.query).get("dry_run", ["0"])[-1] in _YES
        told = await self.reload(dry_run) if self.reload is not None else Reloaded(ok=False)
        if not dry_run:
            self.gate.audit("reload", "", by, request, ok=told.ok, detail="\n".join(told.problems))
        return json_reply(asdict(told), 200 if told.ok else 409)

    async def _logs(self, request: Request, name: str) -> Reply:
        self.gate.admit(request)
        query = parse_qs(request.query)
        follow = wants_to_follow(request, query)
        given, least = query.get("last", ["50"])[-1], 0 if follow else 1
        if not given.isascii() or not given.isdecimal() or not least <= int(given[:9]) <= _MOST_LINES:
            raise GatewayError("invalid_payload", f"`last` is a number from {least} to {_MOST_LINES}.", param="last")
        if follow:
            return following(LogFeed(self.orders.follow(name, int(given))), f"the output of {name}")
        return json_reply({"replica": name, "lines": self.orders.log_lines(name, int(given))})

    async def _explain(self, request: Request, name: str) -> Reply:
        self.gate.admit(request)
        return json_reply(asdict(self.orders.explain(name)))
