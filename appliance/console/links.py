"""`POST /ops/v1/console/link`: a link that logs in once, for whoever may give orders already."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.console.sessions import LINK_LASTS, Sessions
from appliance.domain.http import Reply, Request
from appliance.ops.gate import Gate


@dataclass(frozen=True, slots=True)
class LinkRoutes:
    """What the route needs.

    Attributes:
        clock: monotonic seconds.
        url: where browsers reach this server.
    """

    gate: Gate
    sessions: Sessions
    clock: Callable[[], float]
    url: str

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("POST", "/ops/v1/console/link", self._link)]

    async def _link(self, request: Request, _: str) -> Reply:
        by = self.gate.admit(request)
        code = self.sessions.new_link(by, self.clock())
        self.gate.audit("console link", "", by, request, ok=True, detail=f"works once, for {LINK_LASTS / 60:g} min")
        # Behind the "#" it is sent to nobody: no log, no proxy and no preview of a chat sees it.
        reply = json_reply({"url": self.url, "path": f"/console/login#{code}", "code": code, "seconds": LINK_LASTS})
        reply.headers.append(("cache-control", "no-store"))
        return reply
