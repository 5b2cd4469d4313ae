"""The operator's own way in: `/ops/v1` on a socket in the state directory, without a key.

The permission of the file is the credential: who may connect to it owns the appliance, or the machine.
"""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import trio

from appliance.api.dispatch import Dispatch
from appliance.api.routes import Route, Router
from appliance.api.socket_app import SocketApp
from appliance.door.handover import Handover
from appliance.door.listener import Caps, Listener
from appliance.door.reception import Reception
from appliance.door.surroundings import Surroundings
from appliance.door.transport import Transport
from appliance.errors import GatewayError
from appliance.observe.metrics import Metrics
from appliance.ops.sockets import FeedSockets
from appliance.sockets.private import PrivateSocket
from appliance.supervisor.state_dir import OPS

_LOG = logging.getLogger("appliance.serve")
_CAPS = Caps(64)


class PrivateDoor:
    """Serves a route table on the socket of a state directory.

    Args:
        state_dir: locked by this process while `run` is on its way; so what lies at the socket's path is stale.
        routes: which ask for no key.
        around: of the public door; what is particular to that one is exchanged.
        dispatch: the same.
    """

    def __init__(
        self, state_dir: Path, routes: list[Route], around: Surroundings, dispatch: Dispatch, metrics: Metrics
    ) -> None:
        self._path = state_dir / OPS
        application = replace(dispatch, router=Router(routes), hosts=None, alone=True)
        sockets = SocketApp([FeedSockets(application)])
        self._websockets = Handover(sockets, write_stall=around.patience.write_stall)
        self.reception = Reception(replace(around, application=application, hand_over=self._hand_over), metrics)
        self.listener: Listener | None = None
        self._socket: PrivateSocket | None = None

    def inherit(self, sock: socket.socket) -> None:
        """Listen on the socket of the process that we take over from."""
        self._socket = PrivateSocket(self._path, sock)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close` or cancellation. Without a socket the appliance does its work all the same."""
        try:
            self._socket = self._socket or PrivateSocket(self._path)
        except OSError as error:
            why = error.strerror or error
            _LOG.warning("cannot listen on %s: %s; the command line needs --url and --key-file", self._path, why)
            task_status.started()
            return
        self.listener = Listener([self._socket.socket], self.reception, _CAPS)
        try:
            task_status.started()
            await self.listener.run()
        finally:
            self.close()

    @property
    def files(self) -> list[int]:
        """The listening socket, for another process; none where there is none."""
        return self.listener.files if self.listener is not None else []

    def leave(self) -> None:
        """Another process listens there: what is connected here ends with its present order."""
        if self.listener is not None:
            self.listener.stop_accepting()
        if self._socket is not None:
            self._socket.leave()

    def close(self) -> None:
        """Remove the socket and end its connections, which must happen before others may use the state directory."""
        if self.listener is not None:
            self.listener.stop_accepting()
        if self._socket is not None:
            self._socket.close()
        self._websockets.abort()
        self.reception.cut()

    async def _hand_over(self, transport: Transport, replay: bytes, *, more: bool) -> None:
        if not more:  # it is no websocket: there are no pages here
            await trio.lowlevel.checkpoint()
            raise GatewayError("unknown_url", "Only the orders of an operator are served here, and no other protocol.")
        await self._websockets.connection(transport, replay, more=more)
