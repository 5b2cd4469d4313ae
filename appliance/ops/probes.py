"""`/healthz`, `/readyz` and `/metrics`."""

from dataclasses import dataclass

from appliance.access.keys import KeyRing
from appliance.access.policy import local_without_proxy, require_scope
from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.health.report import readiness
from appliance.observe.metrics import Metrics
from appliance.routing.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probe routes need."""

    keys: KeyRing
    fleet: FleetTable
    catalogue: Catalogue
    metrics: Metrics

    def routes(self) -> list[Route]:
        """The probe routes."""
        return [
            Route("GET", "/healthz", self._healthz),
            Route("GET", "/readyz", self._readyz),
            Route("GET", "/metrics", self._metrics),
        ]

    def on_the_box(self) -> list[Route]:
        """Those of the operator's own socket, where no key is asked for."""
        return [Route("GET", "/metrics", self._render)]

    async def _healthz(self, _request: Request, _: str) -> Reply:
        return json_reply({"status": "ok"})

    async def _readyz(self, request: Request, _: str) -> Reply:
        report = readiness(self.fleet.snapshot(), self.catalogue.targets_by_model())
        if not self._trusted(request):
            # Reasons and progress are lines of the engines' own logs: paths and such are not for everybody.
            seen = ("ready", "available", "state")
            report = {name: {what: entry[what] for what in seen} for name, entry in report.items()}
        ready = all(entry["available"] for entry in report.values())
        return json_reply({"status": "ready" if ready else "not ready", "models": report}, 200 if ready else 503)

    def _trusted(self, request: Request) -> bool:
        if local_without_proxy(request):
            return True
        try:
            self.keys.find(request.headers)
        except GatewayError:
            return False
        return True

    async def _metrics(self, request: Request, _: str) -> Reply:
        if not local_without_proxy(request):
            require_scope(self.keys.find(request.headers), "metrics")
        return await self._render(request, "")

    async def _render(self, request: Request, _: str) -> Reply:
        body, content_type = await self.metrics.render(request.header("accept"))
        return Reply(200, [("content-type", content_type)], body)
