"""What every door does with a request: find the route, run its endpoint, count the reply."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from appliance import __version__
from appliance.access.hosts import KnownHosts
from appliance.access.pace import Pace
from appliance.api.endpoints import client_request_id
from appliance.api.reply import error_reply, with_ids
from appliance.api.routes import Router, dialect_of
from appliance.domain.http import VERSION, Reply, Request
from appliance.errors import GatewayError
from appliance.observe.metrics import Metrics

_OURS = ("x-error-source", "gateway")  # a model server may have its own reason for a 401
_ORDERS = "/ops/"  # whose answers are read by commands, perhaps of another version
_LOG = logging.getLogger("appliance.api")


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One for the whole process; any door calls it.

    Attributes:
        new_id: 32 fresh hex digits.
        hosts: checked where no key is asked for; a key is protection enough.
        pace: slows refusals of keys.
        alone: there are no pages behind it, so that it answers every path itself.
    """

    router: Router
    metrics: Metrics
    new_id: Callable[[], str]
    hosts: KnownHosts | None = None
    pace: Pace = field(default_factory=Pace)
    alone: bool = False

    def serves(self, path: str) -> bool:
        """Whether a path is in the route table."""
        return self.alone or self.router.knows(path)

    async def __call__(self, request: Request) -> Reply:
        """The reply to a request; never raises except when cancelled. The door closes a streamed body."""
        template = "_unknown"
        try:
            if self.hosts is not None:
                self.hosts.check(request.header("host"))
            route, argument = self.router.find(request.method, request.path)
            template = route.template
            reply = await route.endpoint(request, argument)
            if template.startswith(_ORDERS):
                reply.headers.append((VERSION, __version__))
            if not reply.identified:
                with_ids(reply, self._id(request))
        except GatewayError as error:
            reply = error_reply(error, self._id(request), dialect_of(request))
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the traceback
            # The traceback is for the log; the client gets the id to quote.
            request_id = self._id(request)
            _LOG.exception("request %s failed", request_id)
            bug = GatewayError("internal_error", "A bug in the appliance; its log has more.")
            reply = error_reply(bug, request_id, dialect_of(request))
        self.metrics.http_request(template, request.method, reply.status)
        if reply.status == 401 and _OURS in reply.headers:
            await trio.sleep(self.pace.wait(request.peer, trio.current_time()))
        return reply

    def refusal(self, error: GatewayError) -> Reply:
        """The reply to something that is no request at all, or that is refused before it is looked at."""
        return error_reply(error, f"req_{self.new_id()}")

    def _id(self, request: Request) -> str:
        return client_request_id(request) or f"req_{self.new_id()}"
