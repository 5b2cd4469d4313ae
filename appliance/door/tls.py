"""The bytes of one client connection over TLS.

OpenSSL works on memory here and never sees the socket: so one write of ours is one write of the kernel's, a wait can be
cancelled anywhere, and nothing needs a thread. The same shape as `door.transport`.
"""

import json
import socket
import ssl
from contextlib import suppress

import trio

from appliance.door.certificates import Certificates
from appliance.door.client_hello import server_name
from appliance.door.transport import NOTHING, RECEIVE
from appliance.errors import TABLE

_RECORD = 16 * 1024  # bytes; most that one record holds
_SLICE = 256 * 1024  # bytes encrypted before the first of them is sent
_GOODBYE = 1.0  # seconds for the last bytes to leave
_LINGER = 2.0  # seconds in which a refusal can be read
_LINGER_BYTES = 2**18

_HANDSHAKE = 0x16  # first byte of every TLS connection
_LETTERS = range(ord("A"), ord("Z") + 1)  # first byte of every HTTP method

# What a client that speaks plain HTTP to this port can read.
_REFUSAL = json.dumps(
    {
        "error": {
            "message": "This port speaks TLS: use https:// in the address.",
            "type": TABLE["malformed_request"].type,
            "param": None,
            "code": "malformed_request",
        }
    }
).encode()
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-error-source: gateway\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
)

# OpenSSL's reasons, in words for whoever reads the log.
_REASONS = {
    "UNSUPPORTED_PROTOCOL": "no common protocol version",
    "NO_SHARED_CIPHER": "no common cipher",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "the client cannot use this kind of certificate",
    "NO_SUITABLE_KEY_SHARE": "no common key exchange",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept the certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept the certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the certificate has expired",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client refuses the protocol version",
}
_LEFT = "the client left"


class HandshakeFailed(ConnectionError):  # noqa: N818 - says what happened
    """No TLS connection came about; the text is the reason, and holds nothing that the client sent."""


class TlsTransport:
    """An encrypted connection after its handshake."""

    __slots__ = (
        "_failure",
        "_finished",
        "_incoming",
        "_left",
        "_outgoing",
        "_over",
        "_ready",
        "_session",
        "alpn",
        "secure",
        "socket",
    )

    def __init__(
        self, sock: socket.socket, session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """`sock` is connected and non-blocking, and closed by `close`; the handshake of `session` is over."""
        self.socket = sock
        self.secure = True
        self.alpn = session.selected_alpn_protocol() or ""
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing
        self._ready = b""  # decrypted and not asked for yet
        self._over = False  # the client has ended its side
        self._failure: Exception | None = None  # raised once `_ready` is used up
        self._left = NOTHING  # encrypted and not sent yet: until it is, nothing else may be
        self._finished = False  # we have said that nothing follows
        if incoming.pending or session.pending():
            self._decrypt()

    def pending(self) -> bool:
        """Whether `receive` has an answer that does not need the socket."""
        return bool(self._ready) or self._over or self._failure is not None

    async def receive(self, most: int = RECEIVE) -> bytes:
        """Some bytes; b"" when the client has ended its side, politely or not.

        After `end` the bytes come as they are, encrypted: they are good for waiting until the client closes.

        Raises:
            ConnectionError: the connection is broken, or what came is not TLS.
        """
        if self.pending():
            await trio.lowlevel.checkpoint()
        while not self.pending():
            await trio.lowlevel.wait_readable(self.socket)
            try:
                data = self.socket.recv(RECEIVE)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _broken(error) from error
            if self._finished:
                return data
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
            self._decrypt()
        if self._ready:
            ready = self._ready
            self._ready = ready[most:]
            return ready[:most]
        if self._failure is not None:
            raise ConnectionResetError("what the client sent is not TLS") from self._failure
        return b""

    async def send(self, data: bytes | memoryview) -> None:
        """All of it; most of the time the kernel takes it at once. Cancelled half-way, the connection is of no use.

        Raises:
            ConnectionError: the connection is broken.
        """
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            if not self.offer(view[start : start + _SLICE]):
                await self.flush()

    def offer(self, data: bytes | memoryview) -> bool:
        """Send what goes without waiting; False when some is left, which `flush` has to send before anything else.

        Raises:
            ConnectionError: the connection is broken, or something is left from before.
        """
        if self._left or self._finished:
            raise BrokenPipeError("the connection was given up")
        try:
            self._session.write(data)
            return self._push()
        except OSError as error:
            raise _broken(error) from error

    async def flush(self) -> None:
        """Send what `offer` has left.

        Raises:
            ConnectionError: the connection is broken.
        """
        try:
            while self._left:
                await trio.lowlevel.wait_writable(self.socket)
                self._push()
        except OSError as error:
            raise _broken(error) from error

    def move(self, *, waiting: bool) -> None:
        """The keys of the session are in this process alone."""
        del waiting

    async def end(self) -> None:
        """Tell the client that nothing more follows; bounded, and never an error."""
        try:
            if not (self._left or self._finished):
                self._finished = True
                with suppress(ssl.SSLError):  # it wants the client's answer, for which nobody waits
                    self._session.unwrap()
                with trio.move_on_after(_GOODBYE):
                    if not self._push():
                        await self.flush()
        except OSError:
            pass  # the client was faster
        finally:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket now; a task that waits for it is woken with an error."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    def _push(self) -> bool:
        """Send what OpenSSL has written, as far as that goes without waiting; whether that was everything."""
        left = self._left or memoryview(self._outgoing.read())
        try:
            sent = self.socket.send(left)
        except BlockingIOError:
            sent = 0
        self._left = left[sent:] if sent < len(left) else NOTHING
        return not self._left

    def _decrypt(self) -> None:
        """Take everything out of OpenSSL, so that what is left inside can only be a part of a record."""
        session, pieces = self._session, []
        try:
            while piece := session.read(_RECORD):
                pieces.append(piece)
                if not (self._incoming.pending or session.pending()):
                    break  # saves the exception that another look would cost
            else:
                self._over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            self._over = True  # cut without a word; whether something is missing is for the reader of the bytes to say
        except ssl.SSLError as error:
            self._failure = error
        self._ready += pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def handshake(sock: socket.socket, certificates: Certificates) -> TlsTransport:
    """Agree on a session with a client. The caller bounds the time, and closes `sock` if this does not return.

    Args:
        sock: connected and non-blocking.
        certificates: the one that fits the client's wish is shown.

    Raises:
        HandshakeFailed: it came to nothing, and why.
    """
    try:
        hello, name = await _hello(sock)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = certificates.context(name).wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(hello)
        while not _agreed(session, sock, outgoing):
            await _send_all(sock, outgoing.read())
            incoming.write(await _more(sock))
        if session.version() != "TLSv1.3":
            # Up to 1.2 the last word is ours. In 1.3 what waits now are session tickets, which go with the first reply.
            await _send_all(sock, outgoing.read())
        return TlsTransport(sock, session, incoming, outgoing)
    except HandshakeFailed:
        raise
    except OSError as error:
        raise HandshakeFailed(_LEFT) from error


async def _hello(sock: socket.socket) -> tuple[bytes, str]:
    """The client's first message and the host that it asks for."""
    data = bytearray()
    while True:
        data += await _more(sock)
        if data[0] in _LETTERS:
            await _answer_plain(sock)
            raise HandshakeFailed("plain HTTP on the TLS port")
        if data[0] != _HANDSHAKE:
            raise HandshakeFailed("not TLS")
        name = server_name(data)
        if name is not None:
            return bytes(data), name


def _agreed(session: ssl.SSLObject, sock: socket.socket, outgoing: ssl.MemoryBIO) -> bool:
    """Go on with the handshake; False when the client has to say more."""
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError as error:
        with suppress(OSError):
            sock.send(outgoing.read())  # the alert, if it can leave at once
        reason = error.reason or "unknown"
        raise HandshakeFailed(_REASONS.get(reason, f"OpenSSL: {reason.lower().replace('_', ' ')}")) from None
    return True


async def _answer_plain(sock: socket.socket) -> None:
    """Say in plain HTTP that this is the wrong port, and stay until it was read."""
    with trio.move_on_after(_LINGER):
        await _send_all(sock, _PLAIN_ANSWER)
        sock.shutdown(socket.SHUT_WR)
        drained = 0
        while drained < _LINGER_BYTES and (data := await _receive(sock)):
            drained += len(data)


async def _more(sock: socket.socket) -> bytes:
    data = await _receive(sock)
    if not data:
        raise HandshakeFailed(_LEFT)
    return data


async def _receive(sock: socket.socket) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(RECEIVE)
        except BlockingIOError:
            continue


async def _send_all(sock: socket.socket, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


def _broken(error: OSError) -> ConnectionError:
    """Any failure of a socket or of OpenSSL as what it means here."""
    return error if isinstance(error, ConnectionError) else ConnectionResetError(str(error.strerror or "broken"))
