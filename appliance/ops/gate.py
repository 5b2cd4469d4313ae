"""Who gives an order, and what is kept of it: a line of the log and an event, both from here."""

import logging
from dataclasses import dataclass

from appliance.access.keys import KeyRing
from appliance.access.policy import require_scope
from appliance.api.endpoints import client_trace
from appliance.domain.events import Fact
from appliance.domain.http import Request
from appliance.events.journal import Journal

_LOG = logging.getLogger("appliance.audit")
_ON_THE_BOX = "ops.sock"  # who can reach it owns the appliance, or the machine


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets administrators through.

    Attributes:
        keys: None where whoever can reach the routes at all may give orders.
        journal: is told every order.
    """

    keys: KeyRing | None
    journal: Journal

    @property
    def on_the_box(self) -> bool:
        """Whether all who ask are on the machine itself and own the appliance."""
        return self.keys is None

    def admit(self, request: Request) -> str:
        """The name of whoever asks.

        Raises:
            GatewayError: `invalid_api_key` or `scope_missing`.
        """
        if self.keys is None:
            return _ON_THE_BOX
        caller = self.keys.find(request.headers)
        require_scope(caller, "admin")
        return caller.name

    def audit(self, action: str, target: str, by: str, request: Request, *, ok: bool, detail: str = "") -> None:
        """Tell an order, whatever became of it. It never holds a key.

        Args:
            action: what was ordered.
            target: on what; "" for all of the appliance.
            by: as `admit` says.
            request: that ordered it.
            ok: it was done.
            detail: why not, or what else there is to know.
        """
        fields = {"action": action, "target": target, "by": by, "peer": request.peer, "ok": ok, "detail": detail}
        _LOG.info("audit", extra={"fields": fields})
        words = f"{by} ordered: {action}{f' {target}' if target else ''}. {'Done' if ok else 'Not done'}"
        facts: dict[str, Fact] = {"action": action, "by": by, "peer": request.peer, "ok": ok}
        if (trace := client_trace(request)) is not None:
            facts["trace_id"] = trace[0]
        why = f": {detail.rstrip('.')}" if detail else ""
        self.journal.tell("admin.action", target or "appliance", f"{words}{why}.", **facts)
