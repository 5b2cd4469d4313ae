"""Orders that take a while: a page does not wait for a model to load.

What an order comes to is said on the next page of whoever gave it, and in the audit in any case. An errand goes on when
its browser leaves, and ends with the server.
"""

from collections.abc import Awaitable, Callable

import trio

from appliance.console.pages import Asked, Done
from appliance.errors import GatewayError, OperatorError

_PATIENCE = 1.0  # seconds that a page waits
_MOST = 16  # at once
Errand = Callable[[], Awaitable[Done]]


class Errands:
    """Runs them, in a nursery of its own."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._under_way = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep errands until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def send(self, asked: Asked, name: str, errand: Errand) -> Done:
        """Begin an errand; what came of it, or that it is under way.

        Args:
            asked: by whom.
            name: what it is, in words.
            errand: does it.

        Raises:
            GatewayError: `queue_full`: too many are under way.
        """
        if self._nursery is None or self._under_way >= _MOST:
            raise GatewayError("queue_full", f"{_MOST} orders are being carried out already. Wait for one of them.")
        ended: list[Done] = []
        told = trio.Event()
        late = False

        async def run() -> None:
            self._under_way += 1
            try:
                done = await errand()
            except (GatewayError, OperatorError) as error:
                done = Done(error.message if isinstance(error, GatewayError) else str(error), ok=False)
            finally:
                self._under_way -= 1
            ended.append(done)
            told.set()
            if late:
                asked.session.say(done.message, ok=done.ok)

        self._nursery.start_soon(run, name=f"errand {name}")
        with trio.move_on_after(_PATIENCE):
            await told.wait()
        if ended:
            return ended[0]
        late = True
        return Done(f"{name}: under way.")
