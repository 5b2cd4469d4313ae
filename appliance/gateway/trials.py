"""Suspects of a crash wait here for their turn; see `breakers.suspects`."""

import hashlib
import logging
import math
from collections.abc import Callable

import trio

from appliance.breakers.suspects import Opinion, Suspects
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange

_LOG = logging.getLogger("appliance.gateway")
_KEPT = 2**14  # bytes of a body that may be remembered while it is worked on; of a longer one only the digest is
_SERVING = {ReplicaState.READY, ReplicaState.DRAINING}


def remembered(body: bytes) -> bytes | str:
    """What is kept of a request, to know it again after a crash: nearly nothing has to be computed before one."""
    return body if len(body) <= _KEPT else hashlib.blake2b(body, digest_size=16).hexdigest()


def digest_of(kept: bytes | str) -> bytes:
    """From what `remembered` kept."""
    return bytes.fromhex(kept) if isinstance(kept, str) else hashlib.blake2b(kept, digest_size=16).digest()


class Trials:
    """Lets suspects in one at a time.

    Args:
        clock: monotonic seconds.
        wait: seconds that a suspect may wait for its turn.
        step_aside: gives back all that an exchange holds, so that it holds nobody up while it waits.

    Attributes:
        suspects: who they are.
    """

    def __init__(
        self, clock: Callable[[], float], wait: float, step_aside: Callable[[Exchange], None] = Exchange.let_go
    ) -> None:
        self.suspects = Suspects()
        self.wait = wait
        self._step_aside = step_aside
        self._clock = clock
        self._ended: dict[str, trio.Event] = {}  # by runtime; somebody waits for its trial to end

    async def turn(self, runtime: str, body: bytes, exchange: Exchange) -> bool:
        """Return when the request may be sent; whether that took time.

        Call it only while there are suspects (`suspects.any`).

        Raises:
            GatewayError: `request_quarantined`, or `queue_timeout` where other suspects took too long.
        """
        content, waited = digest_of(remembered(body)), False
        with trio.move_on_after(self.wait):
            while not self._let_in(runtime, content, exchange):
                if not waited:
                    exchange.phase = "queued"
                    self._step_aside(exchange)
                waited = True
                event = self._ended.setdefault(runtime, trio.Event())
                with trio.move_on_after(self.suspects.doubt(runtime, self._clock()) or math.inf):
                    await event.wait()
            return waited
        raise GatewayError(
            "queue_timeout",
            f"The engine of {runtime!r} crashed while it worked on this request and others. Until it is known which "
            f"one it was, they are let in one at a time, and the turn of this one did not come within {self.wait:g} s.",
            retry_after=10,
        )

    def _let_in(self, runtime: str, content: bytes, exchange: Exchange) -> bool:
        now = self._clock()
        opinion = self.suspects.opinion(runtime, content, now)
        if opinion is Opinion.BANNED:
            raise GatewayError(
                "request_quarantined",
                f"The engine of {runtime!r} crashed twice while it worked on exactly this request, the second time "
                "with no other suspect inside. It is refused for an hour; change the request, or tell the server's "
                "owner.",
            )
        if opinion is Opinion.CLEAR:
            return True
        if not self.suspects.begin(runtime, content, now):
            return False
        exchange.trial = content
        return True

    def over(self, runtime: str, exchange: Exchange, *, well: bool) -> None:
        """The trial of an exchange has ended; `well` clears it of the suspicion."""
        content, exchange.trial = exchange.trial, None
        if content is None:
            return
        self.suspects.end(runtime, content, well=well)
        self._wake(runtime)

    def broke(self, runtime: str, exchange: Exchange, now: float) -> None:
        """An exchange broke off, as it does when the engine dies; before its trial is `over`."""
        if exchange.lease is None:
            return
        replica, alone, began = exchange.lease.replica, exchange.trial is not None, exchange.asked or now
        if exchange.content:
            content = digest_of(exchange.content)
            self.suspects.broke(runtime, replica, content, began, now, alone=alone)
            self._tell(runtime, content, now)
        if alone:
            self.suspects.broke_alone(runtime, replica, began, now)

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table. What served and is in backoff has crashed."""
        if before is not None and before.state in _SERVING and after.state is ReplicaState.BACKOFF:
            now = self._clock()
            for content in self.suspects.crashed(after.replica, now):
                self._tell(after.runtime, content, now)
            self._wake(after.runtime)

    def _wake(self, runtime: str) -> None:
        event = self._ended.pop(runtime, None)
        if event is not None:
            event.set()

    def _tell(self, runtime: str, content: bytes, now: float) -> None:
        match self.suspects.opinion(runtime, content, now):
            case Opinion.SUSPECT:
                _LOG.info("%s crashed with a request inside that is a suspect from now on", runtime)
            case Opinion.BANNED:
                _LOG.warning("%s crashed again with one and the same request inside: that is refused now", runtime)
            case Opinion.CLEAR:
                pass
