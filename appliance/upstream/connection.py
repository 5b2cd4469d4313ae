"""One HTTP/1.1 connection to a model server, over TCP or a unix socket."""

import contextlib
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from appliance.domain.http import Headers
from appliance.domain.targets import Address
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamError
from appliance.http1.request import render_head
from appliance.http1.response import Head, ResponseParser
from appliance.sockets.outbox import SHORT, Writer
from appliance.sockets.readiness import Reader, Readiness
from appliance.upstream.alarm import Alarm
from appliance.upstream.deadlines import Countdown, Stage
from appliance.upstream.dial import dial
from appliance.upstream.gaps import Gaps

_RECEIVE = 256 * 1024  # bytes of one read
_FAILURES = (OSError, trio.ClosedResourceError, trio.TooSlowError)  # of a wait or a read


@dataclass(slots=True)  # not frozen: that would triple the cost of making one
class OutRequest:
    """A request to a model server. Nobody changes one.

    Attributes:
        method: upper case.
        path: under the server's root, query included.
        headers: without framing, Host and accept-encoding, which are added.
        body: all of it.
        request_id: sent as x-request-id, the one header that is another in each request; "" for none.
        trace: sent as traceparent behind it, where there is one; checked.
        head: the request line and headers as bytes, when they have been rendered already; method, path and headers
            are not looked at then.
    """

    method: str
    path: str
    headers: Headers = field(default_factory=list)
    body: bytes = field(default=b"", repr=False)  # a prompt; never in a log
    request_id: str = ""
    trace: str = ""
    head: bytes = field(default=b"", repr=False)  # may hold a credential


class Connection(Protocol):
    """What a pool holds: it carries one exchange at a time."""

    @property
    def gaps(self) -> Gaps:
        """The pauses of the reply under way; the next one has its own."""
        ...

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly, and the server lets us send another."""
        ...

    def stale(self) -> bool:
        """It was idle, and the server has closed it or sent something unasked."""
        ...

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        """Send a request and wait for the head of its reply; the countdown bounds the body as well.

        Raises:
            UpstreamError: any kind; the connection is of no use afterwards.
        """
        ...

    @property
    def complete(self) -> bool:
        """The reply has arrived to its end; `take` gives what is left of it."""
        ...

    def take(self) -> bytes:
        """The body bytes that are here already; b"" when there are none."""
        ...

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end.

        Raises:
            UpstreamError: any kind; the connection is of no use afterwards.
        """
        ...

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give body bytes to `taken` as they arrive, until it returns False or the reply is complete.

        Raises:
            UpstreamError: as `receive`; and whatever `taken` raises.
        """
        ...

    def interrupt(self) -> None:
        """Whoever waits for body bytes gets a `ConnectionLost` instead; harmless when nobody does."""
        ...

    async def aclose(self) -> None:
        """Close the socket."""
        ...


class Shared:
    """What all plain connections can use together.

    Attributes:
        buffer: for the bytes of one read, none of which stays in it. A fresh one for every read would make malloc take
            pages from the system and give them back each time.
        alarm: ends the waits whose deadline passed.
        readiness: where replies are waited for; short requests leave through its outbox.
    """

    def __init__(self, readiness: Readiness | None = None) -> None:
        self.readiness = readiness or Readiness()
        self.buffer = memoryview(bytearray(_RECEIVE))
        self.alarm = Alarm()


class PlainConnection:
    """HTTP/1.1 over a socket that is open already and does not block.

    Trio's own streams would cost more than everything else here; we need neither their locks nor their checkpoints.

    Args:
        sock: connected.
        authority: the Host header.
        shared: what connections can have in common; a set of its own when absent.

    Attributes:
        gaps: the pauses of the reply under way; the next one has its own.
    """

    def __init__(self, sock: socket.socket, authority: str, shared: Shared | None = None) -> None:
        shared = shared or Shared()
        self._socket = sock
        self._buffer = shared.buffer
        self._alarm = shared.alarm
        self._readiness = shared.readiness
        self._reader = Reader(sock, shared.readiness, urgent=True)
        self._countdown: Countdown | None = None  # of the exchange under way
        self._authority = authority
        self.gaps = Gaps()
        self._parser = ResponseParser()
        self._writer = Writer(sock, shared.readiness.outbox)
        self._sent = False  # the whole request is with the kernel, or with the writer
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly, and the server lets us send another."""
        return self._sent and self._parser.keep_alive and self._writer.idle

    @property
    def complete(self) -> bool:
        """The reply has arrived to its end; `take` gives what is left of it."""
        return self._parser.complete

    def stale(self) -> bool:
        """It was idle and is readable: that is the server's close, or bytes nobody asked for."""
        return bool(self._poll.poll(0))

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        """Send a request and wait for the head of its reply.

        Raises:
            ConnectionLost: the connection broke.
            ConnectFailed: it had done so before anything was sent.
            ProtocolViolation: the reply is not HTTP.
            UpstreamTimeout: no head in time.
            ValueError: the request cannot be written down as HTTP.
        """
        head = request.head or render_head(
            request.method, request.path, self._authority, request.headers, len(request.body)
        )
        parser = self._parser
        parser.restart()
        self.gaps = Gaps()
        self._countdown = countdown
        deadline = countdown.deadline("first_byte", countdown.start if countdown.fresh else None)
        rest = self._send(head, request.body)
        if rest:
            return await self._duplex(rest, deadline)
        try:
            while parser.head is None:
                await self._alarm.wait(self._reader, deadline)
                self._read()
        except _FAILURES as error:
            problem = self._failure(error, "first_byte", deadline)
        except ConnectionLost as lost:
            problem = lost
        else:
            return parser.head
        # A unix socket tells at once that the other end is gone: then the kernel took no byte of the request.
        unsent = not self._sent or self._writer.unsent >= len(head) + len(request.body)
        lost_early = isinstance(problem, ConnectionLost) and problem.before_reply
        raise ConnectFailed(str(problem)) if unsent and lost_early else problem

    def _send(self, head: bytes, body: bytes) -> memoryview | None:
        """Hand the kernel what it takes at once, which is nearly always everything; the rest is returned.

        A failed write is not reported: reading tells whether there was a reply, and what broke.
        """
        self._sent = False
        try:
            if len(body) < SHORT:
                self._writer.write(head + body)
                self._sent = True
                return None
            taken = self._socket.sendmsg((head, body))
        except BlockingIOError:
            taken = 0
        except OSError:
            return None
        if taken == len(head) + len(body):
            self._sent = True
            return None
        return memoryview(body)[taken - len(head) :] if taken >= len(head) else memoryview(head + body)[taken:]

    async def _duplex(self, rest: memoryview, deadline: float) -> Head:
        """Write and read at once: a server may answer (413, 401) and close before it has read the body."""
        problem: UpstreamError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, rest)
            try:
                while self._parser.head is None:
                    await self._alarm.wait(self._reader, deadline)
                    self._read()
            except _FAILURES as error:  # raised outside the nursery, which would wrap it in a group
                problem = self._failure(error, "first_byte", deadline)
            except UpstreamError as error:
                problem = error
            nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem
        if self._parser.head is None:  # pragma: no cover - the loop above ends with a head or a problem
            raise ProtocolViolation("no head")
        return self._parser.head

    async def _write(self, rest: memoryview) -> None:
        """The part of a request that the kernel did not take at once. Failing is silent, as in `_send`."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while rest:
                await trio.lowlevel.wait_writable(self._socket)
                with contextlib.suppress(BlockingIOError):
                    rest = rest[self._socket.send(rest) :]
            self._sent = True

    def _read(self) -> None:
        """Read once, after a wait: that is the checkpoint, and lets small pieces of a fast stream pile up."""
        try:
            size = self._reader.read_into(self._buffer)
        except BlockingIOError:
            return
        self._arrived(size)

    def _failure(self, error: Exception, stage: Stage, deadline: float) -> UpstreamError:
        """What a wait or a read that failed means."""
        if isinstance(error, trio.TooSlowError) and self._countdown is not None:
            return self._countdown.passed(stage, deadline)
        return self._reset()

    def _reset(self) -> ConnectionLost:
        return ConnectionLost("the connection was reset", before_reply=not self._parser.started)

    def _arrived(self, size: int) -> None:
        """Feed the parser what one read brought."""
        parser = self._parser
        if size:
            parser.feed(self._buffer[:size])
            return
        try:
            parser.feed_eof()
        except ProtocolViolation as error:
            words = "inside the reply" if parser.started else "before any reply"
            raise ConnectionLost(
                f"the server closed the connection {words}", before_reply=not parser.started
            ) from error

    def take(self) -> bytes:
        """The body bytes that are here already; b"" when there are none."""
        return self._parser.take()

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end.

        Raises:
            ConnectionLost: the connection broke, or ended before the reply did.
            ProtocolViolation: the framing is wrong.
            UpstreamTimeout: silence for too long, or the total passed.
        """
        parser = self._parser
        if (data := parser.take()) or parser.complete or self._countdown is None:
            return data
        since = trio.current_time()
        deadline = self._countdown.deadline("between_bytes", since)
        try:
            while True:
                await self._alarm.wait(self._reader, deadline)
                self._read()
                if (data := parser.take()) or parser.complete:
                    break
        except _FAILURES as error:
            raise self._failure(error, "between_bytes", deadline) from error
        if (pause := trio.current_time() - since) > self.gaps.notable:
            self.gaps.saw(pause)
        return data

    async def pump(self, taken: Callable[[bytes], bool]) -> None:  # noqa: C901 - apart, it would cost each token a call
        """Give body bytes to `taken` as they arrive, until it returns False or the reply is complete.

        Each call is one read. What `taken` raises is raised here.

        Raises:
            UpstreamError: as `receive`.
        """
        parser, countdown = self._parser, self._countdown
        if parser.complete or countdown is None:
            return
        last, reader, readiness, gaps = trio.current_time(), self._reader, self._readiness, self.gaps

        def step() -> bool:
            nonlocal last
            try:
                size = reader.read_into(self._buffer)
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._reset() from error
            now = readiness.now
            if now - last > gaps.notable:
                gaps.saw(now - last)
            last = now
            self._arrived(size)
            data = parser.take()
            return bool(data and not taken(data)) or parser.complete

        while True:
            # Each read moves the deadline; to look at that only when the first one has passed costs nothing meanwhile.
            try:
                await self._alarm.run(reader, step, countdown.deadline("between_bytes", last))
            except trio.ClosedResourceError as error:
                raise self._reset() from error
            except trio.TooSlowError:
                deadline = countdown.deadline("between_bytes", last)
                if deadline <= trio.current_time():
                    raise countdown.passed("between_bytes", deadline) from None
            else:
                return

    def interrupt(self) -> None:
        """Whoever waits for body bytes gets a `ConnectionLost` instead; harmless when nobody does."""
        self._reader.interrupt(trio.ClosedResourceError("interrupted"))

    async def aclose(self) -> None:
        """Close the socket; whoever waits on it is told that the connection is lost."""
        if self._socket.fileno() >= 0:
            self._reader.close()
            self._alarm.forget(self._reader)
            self._writer.close()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


async def open_plain(address: Address, countdown: Countdown, shared: Shared | None = None) -> PlainConnection:
    """Connect to a "unix" or "http" address.

    Args:
        address: where to.
        countdown: bounds the connecting.
        shared: what connections can have in common; a set of its own when absent.

    Raises:
        ConnectFailed: nothing listens there, or the name is unknown.
        UpstreamTimeout: stage "connect" or "total".
    """
    try:
        with countdown.within("connect"):
            sock = await dial(address)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"cannot connect to {address}: {_cause(error)}") from error
    return PlainConnection(sock, address.authority, shared)


def _cause(error: BaseException) -> str:
    """The system's own words; trio hides them one level down when it tried several addresses."""
    inner = error.__cause__
    if isinstance(inner, BaseExceptionGroup):
        return _cause(inner.exceptions[0])
    if isinstance(inner, OSError):
        return _cause(inner)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
