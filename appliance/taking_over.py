"""`appliance upgrade NEW` in the process that comes: what it does with what the old one gives."""

import logging
import socket
import time

from appliance.config.schema import Config
from appliance.door.listener import Caps, Listener
from appliance.limits.handing import Change, Legacy
from appliance.parts import Parts
from appliance.supervisor import passing
from appliance.supervisor.succession import Succession
from appliance.takeover.messages import Offer
from appliance.takeover.taking import Taking

_LOG = logging.getLogger("appliance.upgrade")
_READY = 5.0  # seconds for what was ready to be ready here: it only has to be written down


class Heir:
    """Takes over. See `takeover.taking.Successor` for the rest.

    Args:
        taking: with the old process.
        parts: of this server, which is not running yet.
        offer: of the old process.
        files: that came with it.
    """

    def __init__(self, taking: Taking, parts: Parts, offer: Offer, files: dict[str, list[int]]) -> None:
        self._taking = taking
        self._parts = parts
        self._offer = offer
        self._sockets = [socket.socket(fileno=file) for file in files["client"]]
        self._legacy = Legacy(parts.ledger, ())
        self._listener: Listener | None = None
        self.succession = Succession(files["lock"][0], offer.running, offer.unloaded)
        for file in files.get("operator", ()):
            parts.private.inherit(socket.socket(fileno=file))

    @classmethod
    async def meet(cls, taking: Taking, config: Config, parts: Parts) -> "Heir":
        """Hear what there is.

        Raises:
            OperatorError: it is not to be.
        """
        offer, files = await taking.meet(config.server.listen, config.server.state_dir)
        return cls(taking, parts, offer, files)

    def listener(self, caps: Caps) -> Listener:
        """On the sockets of the old process, which nobody is accepted on yet."""
        for sock in self._sockets:
            sock.settimeout(0)
        self._listener = Listener(self._sockets, self._parts.reception, caps)
        return self._listener

    async def enter(self) -> None:
        """The models are held: be the server as soon as the old process says so.

        Raises:
            OperatorError: it does not.
        """
        commit = await self._taking.agree()
        self._legacy = Legacy(self._parts.ledger, commit.accounts)
        self._parts.outcomes.trials.suspects.take_over(commit.suspects)
        self.succession.go.set()
        await passing.taken(self._parts.supervisor, self._offer.running, _READY)

    async def serving(self) -> None:
        """Connections are being accepted; return when all is ours.

        Raises:
            OperatorError: the old process ended too early.
        """
        self._parts.upgrades.former = self._offer.pid
        await self._taking.serve(self)
        self._parts.supervisor.ours()
        _LOG.info("upgrade: took over from pid %d, with %d model processes", self._offer.pid, len(self._offer.running))

    async def follow(self) -> None:
        """Take what the old process still gives, until it has ended."""
        await self._taking.follow(self)
        _LOG.info("upgrade: pid %d has no answers left", self._offer.pid)

    def changed(self, change: Change) -> None:
        """See `Successor`."""
        self._legacy.apply(change, time.monotonic())

    def client(self, sock: socket.socket, peer: str, *, operator: bool) -> None:
        """See `Successor`."""
        listener = self._parts.private.listener if operator else self._listener
        if listener is None:
            sock.close()
        else:
            listener.take_in(sock, peer)

    def busy(self, replicas: dict[str, int]) -> None:
        """See `Successor`."""
        passing.busy_elsewhere(self._parts.supervisor, replicas)

    def over(self) -> None:
        """See `Successor`."""
        self._parts.upgrades.former = None
        self._legacy.over()
        self.busy({})
