"""`appliance upgrade NEW` in the process that goes: what it gives."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from appliance.config.schema import Config
from appliance.door.listener import Listener
from appliance.limits.handing import Change, give, take_back
from appliance.parts import Parts
from appliance.service.notify import Manager
from appliance.supervisor import passing
from appliance.takeover.conversation import Conversation
from appliance.takeover.messages import Client, Commit, Hello, Offer
from appliance.takeover.talk import Phase


class Estate:
    """See `takeover.giving.Estate`.

    Args:
        config: in effect when the server started.
        parts: all that runs.
        listener: of the clients.
        manager: who is told.
        quiet: ends what we tell it otherwise.
    """

    def __init__(
        self, config: Config, parts: Parts, listener: Listener, manager: Manager, quiet: Callable[[], None]
    ) -> None:
        self._config = config
        self._parts = parts
        self._listener = listener
        self._manager = manager
        self._quiet = quiet

    async def settled(self) -> str:
        """Which models are between two states."""
        return await passing.settled(self._parts.supervisor)

    def frozen(self) -> AbstractContextManager[None]:
        """No model is started or stopped."""
        return passing.frozen(self._parts.supervisor)

    def offer(self) -> tuple[Offer, list[int]]:
        """The sockets, the lock and the models."""
        server, parts = self._config.server, self._parts
        files = {"client": self._listener.files, "operator": parts.private.files, "lock": [parts.supervisor.lock]}
        offer = Offer(
            os.getpid(),
            server.listen,
            server.state_dir,
            [what for what, found in files.items() for _ in found],
            passing.handed(parts.supervisor),
            passing.unloaded(parts.supervisor),
        )
        return offer, [os.dup(file) for found in files.values() for file in found]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Connections wait in the kernel."""
        listeners = [self._listener, *([self._parts.private.listener] if self._parts.private.listener else [])]
        for listener in listeners:
            listener.pause()
        try:
            yield
        finally:
            for listener in listeners:
                listener.resume()

    def commit(self, told: Callable[[Change], None]) -> Commit:
        """Limits, and suspects of crashes. Breakers learn anew within seconds, and queues end with those who wait."""
        return Commit(give(self._parts.ledger, told), self._parts.outcomes.trials.suspects.known())

    def take_back(self) -> None:
        """The limits are ours again."""
        take_back(self._parts.ledger)

    def let_go(self, successor: Hello) -> None:
        """Of the service, the sockets and the models."""
        self._quiet()
        self._manager.handed_over(successor.pid)
        self._listener.stop_accepting()
        self._parts.private.leave()
        self._parts.supervisor.let_go()

    def pass_on(self, conversation: Conversation) -> None:
        """Connections that have no request under way."""

        def elsewhere(sock: socket.socket, peer: str, *, operator: bool) -> None:
            if conversation.phase is Phase.OURS:
                conversation.say(Client(peer, operator), [sock.detach()])
            else:  # the very end: nobody is there to go on with it
                sock.close()

        self._parts.reception.move_idle(partial(elsewhere, operator=False))
        self._parts.private.reception.move_idle(partial(elsewhere, operator=True))
