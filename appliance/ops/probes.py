"""`/healthz`, `/readyz` and `/metrics`."""

from dataclasses import dataclass

from appliance.access.keys import KeyRing
from appliance.access.policy import local_without_proxy, require_scope
from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
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

    async def _healthz(self, _request: Request, _: str) -> Reply:
        return json_reply({"status": "ok"})

    async def _readyz(self, _request: Request, _: str) -> Reply:
        report = readiness(self.fleet.snapshot(), self.catalogue.targets_by_model())
        ready = all(entry["ready"] for entry in report.values())
        return json_reply({"status": "ready" if ready else "not ready", "models": report}, 200 if ready else 503)

    async def _metrics(self, request: Request, _: str) -> Reply:
        if not local_without_proxy(request):
            require_scope(self.keys.find(request.headers), "metrics")
        body, content_type = self.metrics.render(request.header("accept"))
        return Reply(200, [("content-type", content_type)], body)
