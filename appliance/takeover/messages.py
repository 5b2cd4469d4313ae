"""What the two processes say to each other, and its bytes: a length, how many open files come along, JSON. Pure.

PROTOCOL is the number of all of this together with the files that both write while the old one finishes its answers:
usage, records of model processes, stored keys. When one of them changes so that the version before cannot go on with
it, the number goes up; such an upgrade is refused, and needs a stop and a start.
"""

import struct
from typing import TypeAlias

import msgspec

from appliance.breakers.suspects import Known
from appliance.limits.account import Standing
from appliance.limits.handing import Change
from appliance.supervisor.handing import Handed

PROTOCOL = 1
_HEAD = struct.Struct("!IB")
_LARGEST = 2**26  # bytes of a message; a hundred thousand limited keys have room
MOST_FILES = 250  # of one message; the kernel takes 253


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The new process is up. The one message whose meaning must never change."""

    protocol: int
    version: str
    pid: int


class Offer(msgspec.Struct, frozen=True, tag=True):
    """What there is to take over.

    Attributes:
        listen, state_dir: settings that must be the same in both.
        files: what the open files are that come along: "client" (a listening socket for clients), "operator" (the
            one of the operator), "lock" (of the state directory).
        running: every model process.
        unloaded: replicas that an operator has ended.
    """

    pid: int
    listen: str
    state_dir: str
    files: list[str]
    running: list[Handed]
    unloaded: list[str]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Everything is held, and nothing changed so far."""


class Commit(msgspec.Struct, frozen=True, tag=True):
    """Serve from now on."""

    accounts: list[Standing]
    suspects: list[Known]


class Serving(msgspec.Struct, frozen=True, tag=True):
    """Connections are being accepted."""


class Yours(msgspec.Struct, frozen=True, tag=True):
    """The service manager has been told, and nobody else looks after the models any more."""


class Changed(msgspec.Struct, frozen=True, tag=True):
    """An exchange of the old process has done something to an account."""

    change: Change


class Client(msgspec.Struct, frozen=True, tag=True):
    """A connection, the one open file that comes along, whose client has no request under way.

    Attributes:
        operator: it came to the operator's socket.
    """

    peer: str
    operator: bool


class Busy(msgspec.Struct, frozen=True, tag=True):
    """How many exchanges of the old process still use each replica; those with none are left out."""

    replicas: dict[str, int]


class Bye(msgspec.Struct, frozen=True, tag=True):
    """The old process has nothing left to do."""


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """It will not be, and why, in words for the operator."""

    words: str


Message: TypeAlias = Hello | Offer | Ready | Commit | Serving | Yours | Changed | Client | Busy | Bye | Refusal
_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Garbled(Exception):  # noqa: N818 - a state of the conversation
    """What came is no message that we know."""


def encode(message: Message, files: int = 0) -> bytes:
    """The bytes of a message that so many open files go with."""
    body = msgspec.json.encode(message)
    return _HEAD.pack(len(body), files) + body


class Incoming:
    """Messages out of bytes that come in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Message, int]]:
        """The messages that are whole now, each with the number of its files.

        Raises:
            Garbled: nothing that follows can be understood either.
        """
        buffer, found = self._buffer, []
        buffer += data
        while len(buffer) >= _HEAD.size:
            length, files = _HEAD.unpack_from(buffer)
            if length > _LARGEST:
                raise Garbled(f"a message of {length} bytes")
            end = _HEAD.size + length
            if len(buffer) < end:
                break
            try:
                found.append((_DECODER.decode(buffer[_HEAD.size : end]), files))
            except msgspec.MsgspecError as error:
                raise Garbled(str(error)) from None
            del buffer[:end]
        return found

    @property
    def rest(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._buffer)
