"""The second door: Quart behind Hypercorn, for HTTP/2, for websockets, and for whatever the first one hands over.

A thread imports the two before the server listens. Imported later they would let it listen a sixth sooner, and hold up
its first streams: the first tokens of 64 were 50 ms late in place of 5. Where one is missing nothing has begun yet, and
a server that this one was to take over from goes on.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from appliance.door.transport import Transport
from appliance.errors import GatewayError

if TYPE_CHECKING:
    from appliance.door.handover import Handover

_HYPERCORN, _QUART = "appliance.door.handover", "appliance.api.quart_app"


class SecondDoor:
    """Serves one ASGI application to the connections that it is given.

    Args:
        make: the application; called in a thread, so that it may import what nothing else needs.
        write_stall: how long, in seconds, one write may take.
        lifespan: the application is told of its start and its end.

    Attributes:
        open: set once it can serve.
    """

    def __init__(self, make: Callable[[], Any], *, write_stall: float, lifespan: bool = True) -> None:
        self.open = trio.Event()
        self._make = make
        self._write_stall = write_stall
        self._lifespan = lifespan
        self._app: Any = None
        self._loaded: Handover | None = None
        self._handover: Handover | None = None
        self._closing = False

    async def load(self) -> "Handover":
        """Import, once."""
        if self._loaded is None:
            self._loaded = await trio.to_thread.run_sync(self._load)
        return self._loaded

    async def run(self) -> None:
        """Import, then serve until cancelled."""
        handover = await self.load()
        async with trio.open_nursery() as nursery:
            if self._lifespan:
                await nursery.start(handover.run_lifespan)
            self._handover = handover
            self.open.set()
            if self._closing:
                await handover.close_idle()

    async def connection(self, transport: Transport, replay: bytes, *, more: bool) -> None:
        """Serve one connection until it ends; see `door.handover`."""
        await self.open.wait()
        if self._handover is not None:
            await self._handover.connection(transport, replay, more=more)

    def interrupt(self, error: GatewayError) -> None:
        """Answer every request that has no answer yet with an error."""
        if self._app is not None:
            self._app.interrupt(error)

    def abort(self) -> None:
        """Cut every connection."""
        if self._handover is not None:
            self._handover.abort()

    async def close_idle(self) -> None:
        """Close connections that wait for a request; those in the middle of one go on."""
        self._closing = True
        if self._handover is not None:
            await self._handover.close_idle()

    def _load(self) -> "Handover":
        made: Handover = importlib.import_module(_HYPERCORN).Handover(self._made(), write_stall=self._write_stall)
        return made

    def _made(self) -> Any:
        self._app = self._make()
        return self._app


def quart(*args: Any, **settings: Any) -> Callable[[], Any]:
    """What makes the ASGI application of `api.quart_app.build_app`, of its arguments."""
    return partial(_quart, *args, **settings)


def _quart(*args: Any, **settings: Any) -> Any:
    return importlib.import_module(_QUART).build_app(*args, **settings)
