"""What all client connections share: how long they wait, whom they tell, and who answers."""

import enum
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from appliance.domain.http import Application
from appliance.door.reply import Clock
from appliance.door.transport import Transport
from appliance.door.watch import Watch
from appliance.http1.incoming import HeadLimits
from appliance.sockets.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take, in seconds.

    Attributes:
        head: from the first byte of a request to the end of its head.
        body: for the whole body.
        idle: for the next request.
        write_stall: without taking a single byte.

    Attributes:
        silence: between two looks at a stream; one that said nothing in between says that it lives.
    """

    head: float = 10.0
    body: float = 60.0
    idle: float = 75.0
    write_stall: float = 30.0
    silence: float = 7.5


class Waiting(enum.Enum):
    """What a connection's deadline is about."""

    REQUEST = "request"
    HEAD = "head"
    REPLY = "reply"  # no deadline of the door's: models take their time
    READER = "reader"
    LINGERING = "lingering"
    PAGES = "pages"  # Hypercorn has it


class Events(Protocol):
    """What the door tells whoever counts."""

    def bad_request(self, code: str) -> None:
        """Bytes were refused before they were a request; `code` is a row of the error table."""
        ...

    def client_stalled(self) -> None:
        """A client took no byte for too long and was cut."""
        ...


class HandOver(Protocol):
    """See `door.handover.Handover.connection`."""

    async def __call__(self, transport: Transport, replay: bytes, *, more: bool) -> None:
        """Serve a connection until it ends."""
        ...


@dataclass(slots=True)
class Surroundings:
    """What all connections share.

    Attributes:
        application: answers the requests.
        hand_over: serves what the application does not: the connection, what was read of it and is to be served, and
            whether what follows is to be served too.
        max_body: bytes of the largest body that is handed over.
        readiness: where requests are waited for; answers leave through its outbox.
        closing: no connection outlives its present request.
        elsewhere: takes connections without a request, with the address of the client, for another process to go on
            with; None as long as there is no such process. Set together with `closing`, which then means the others.
    """

    application: Application
    hand_over: HandOver
    watch: Watch
    clock: Clock
    events: Events
    patience: Patience = field(default_factory=Patience)
    limits: HeadLimits = field(default_factory=HeadLimits)
    max_body: int = 2**20
    readiness: Readiness = field(default_factory=Readiness)
    closing: bool = False
    elsewhere: Callable[[socket.socket, str], None] | None = None
