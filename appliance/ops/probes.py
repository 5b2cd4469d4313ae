"""`/healthz`, `/readyz` and `/metrics`."""

import re
import zlib
from dataclasses import dataclass, field

import trio

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

_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))|,|$)", re.IGNORECASE)
# Of zlib's levels: a fourteenth of the page is left; the best one takes four times as long for a tenth less.
_FASTEST = 1


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probe routes need.

    Attributes:
        one_at_a_time: of the threads that compress; scrapes take turns, others' threads are left alone.
    """

    keys: KeyRing
    fleet: FleetTable
    catalogue: Catalogue
    metrics: Metrics
    one_at_a_time: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

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
        headers = [("content-type", content_type), ("vary", "accept, accept-encoding")]
        if _GZIP.search(request.header("accept-encoding") or ""):
            body = await trio.to_thread.run_sync(_gzipped, body, limiter=self.one_at_a_time)
            headers.append(("content-encoding", "gzip"))
        return Reply(200, headers, body)


def _gzipped(page: bytes) -> bytes:
    """In a thread: zlib lets the event loop go on meanwhile."""
    return zlib.compress(page, _FASTEST, zlib.MAX_WBITS | 16)
