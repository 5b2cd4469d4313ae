"""One client connection, from its first byte to its last: requests are read, answered in order, or handed over.

The story of a connection is `run`. Nothing in it can fail for other connections: bytes that are no request get a
readable refusal, a client that leaves cancels its exchange, and every wait has a deadline (see `door.watch`).
"""

import contextlib
import math
from collections.abc import Callable

import trio

from appliance.domain.http import Reply, ReplyStream, Request
from appliance.door.body import Body
from appliance.door.reply import LAST_CHUNK, chunk, render, render_stream_head
from appliance.door.surroundings import Surroundings, Waiting
from appliance.door.transport import Transport, reset
from appliance.errors import GatewayError
from appliance.http1.incoming import RequestHead, check_handshake, find_head_end, skip_empty_lines
from appliance.http1.repeated import Heads
from appliance.sockets.outbox import SHORT

# After the last reply, bytes that nobody wants are drained: a close over unread bytes is a reset, which would take the
# answer away from a client that is still sending. Until it closes, falls silent, or has had its time.
_LINGER_SILENCE = 2.0  # seconds
_LINGER = 10.0  # seconds
_LINGER_BYTES = 2**26
_CR = 13
_SLICE = 2**18  # bytes of a large reply that one write-stall limit covers


class Connection:
    """See the module."""

    __slots__ = (
        "_answering",
        "_around",
        "_buffer",
        "_clean",
        "_gone",
        "_heads",
        "_interruption",
        "_quiet",
        "_scope",
        "_size",
        "_transport",
        "_waiting",
        "deadline",
        "peer",
    )

    def __init__(self, transport: Transport, peer: str, around: Surroundings) -> None:
        """`peer` is the client's address as text."""
        self.peer = peer
        self.deadline = math.inf
        self._transport = transport
        self._around = around
        self._buffer = bytearray()  # received and not used yet
        self._heads = Heads(around.limits)
        self._size = 0  # bytes of the buffer that are the head of the request under way
        self._waiting = Waiting.REQUEST
        self._scope = trio.CancelScope()
        self._answering = False  # the present request's answer has begun
        self._quiet: Callable[[], None] | None = None  # looks whether the stream under way has fallen silent
        self._interruption: Reply | None = None
        self._gone = False  # the client has closed its side
        self._clean = True  # nothing unread is on its way to us that a close would answer with a reset

    @property
    def idle(self) -> bool:
        """It waits for a request that has not begun."""
        return self._waiting is Waiting.REQUEST

    @property
    def handed_over(self) -> bool:
        """Hypercorn has it."""
        return self._waiting is Waiting.PAGES

    # What the watch and the listener say:

    def left(self) -> None:
        """The client has closed its side. One that waits for an answer does not want it any more."""
        self._gone = True
        if self._waiting is Waiting.REPLY or self._waiting is Waiting.READER:
            self._scope.cancel()

    def expired(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self._waiting is Waiting.REPLY and self._quiet is not None:
            self._quiet()
            return
        if self._waiting is Waiting.READER:
            self._around.events.client_stalled()
            reset(self._transport.socket)
            self._clean = True
        self._scope.cancel()

    def close_if_idle(self) -> None:
        """The server goes away: a connection without a request has nothing to wait for."""
        if self.idle:
            self._scope.cancel()

    def move_if_idle(self) -> None:
        """Another process serves from now on: a connection without a request goes there, unless it cannot."""
        if self.idle and not self._buffer and not self._move(waiting=True) and self._transport.secure:
            self.close_if_idle()

    def _move(self, *, waiting: bool) -> bool:
        """Give the connection to the other process, if there is one; False when it stays."""
        around, transport = self._around, self._transport
        if around.elsewhere is None:
            return False
        around.watch.remove(transport.socket)  # while it has its number: the connection outlives that here
        if (sock := transport.move(waiting=waiting)) is None:
            around.watch.add(transport.socket, self)
            return False
        self._gone = True
        around.elsewhere(sock, self.peer)
        return True

    def interrupt(self, error: GatewayError) -> None:
        """The server goes away: a request without an answer yet is answered with an error."""
        self._end_with(self._around.application.refusal(error))

    def _end_with(self, reply: Reply) -> None:
        """A request without an answer yet gets this one, and the connection ends."""
        if self._waiting is Waiting.REPLY and not self._answering:
            self._interruption = reply
            self._scope.cancel()

    def cut(self) -> None:
        """End it now, whatever it does."""
        reset(self._transport.socket)
        self._clean = True
        self._scope.cancel()

    # The story:

    async def run(self) -> None:
        """Serve until either side ends it; the socket is closed on return."""
        transport, watch = self._transport, self._around.watch
        watch.add(transport.socket, self)
        try:
            with self._scope:
                await self._requests()
            if self._interruption is not None and self._scope.cancelled_caught and not self._gone:
                await self._refuse(self._interruption)
            late = self._waiting is Waiting.HEAD and self._scope.cancelled_caught and not self._gone
            if late:
                await self._late()
            if not (self._clean or self._gone or self.handed_over):
                await self._linger(_LINGER_SILENCE if late else _LINGER)
        except (OSError, trio.ClosedResourceError):
            pass  # the client is gone; there is nobody to tell
        finally:
            watch.remove(transport.socket)
            transport.close()

    async def _requests(self) -> None:
        try:
            while (head := await self._head()) is not None:
                if head.upgrade == "websocket" or not self._around.application.serves(head.path):
                    await self._pages(head)
                    return
                del self._buffer[: self._size]
                if not await self._exchange(head):
                    return
        except GatewayError as error:
            self._around.events.bad_request(error.code)
            await self._refuse(self._around.application.refusal(error))

    async def _head(self) -> RequestHead | None:
        """The next request's head, which stays in the buffer; None when there will be none.

        Raises:
            GatewayError: what came is not a request that we accept.
        """
        around, buffer = self._around, self._buffer
        self._waiting, self.deadline = Waiting.REQUEST, trio.current_time() + around.patience.idle
        if buffer:
            await trio.lowlevel.cancel_shielded_checkpoint()  # who pipelines does not hold up the others
        searched = skipped = 0
        while True:
            if buffer and buffer[0] == _CR and (empty := skip_empty_lines(buffer, skipped)):
                del buffer[:empty]
                skipped += empty
            if buffer:
                end = find_head_end(buffer, searched, around.limits)
                if end >= 0:
                    break
                searched = len(buffer)
            if buffer and self._waiting is Waiting.REQUEST:
                self._waiting, self.deadline = Waiting.HEAD, trio.current_time() + around.patience.head
            if around.closing and not buffer and (not self._movable or self._move(waiting=False)):
                return None
            data = await self._transport.receive()
            if not data:
                self._gone = True
                return None
            buffer += data
        self._waiting, self.deadline = Waiting.REPLY, math.inf
        self._size = end
        return self._heads.read(bytes(buffer[:end]))

    @property
    def _movable(self) -> bool:
        return self._around.elsewhere is not None and not self._transport.secure

    async def _exchange(self, head: RequestHead) -> bool:
        """Answer one request. False when the connection must end."""
        around = self._around
        body = Body(head, self._buffer, self._transport, around.patience.body, self._lost)
        if self._gone:
            # What needs no waiting is still answered; the rest would be work for nobody.
            self._scope.cancel()
        request = Request(head.method, head.path, head.query, head.headers, self.peer, body, head.known, self._end_with)
        self._answering = False
        readiness = around.readiness
        readiness.relay()  # before and after the work: a token does not wait for a crowd of new requests
        reply = await around.application(request)
        readiness.relay()
        self._answering = True
        keep = head.keep_alive and (not around.closing or self._movable) and body.skip()
        self._clean = keep
        head_only = head.method == "HEAD"
        if head_only and not isinstance(reply.body, bytes):
            await reply.body.aclose()
            reply.body = b""
        if isinstance(reply.body, bytes):
            data = render(reply, date=around.clock.line(), keep=keep, http10=head.http10, head_only=head_only)
            if len(data) > SHORT:
                await self._send(data)
            elif not self._transport.offer(data):
                await self._flush()
            return keep
        keep = await self._stream(reply, reply.body, keep=keep, http10=head.http10)
        readiness.relay()
        self._clean = keep
        return keep

    async def _stream(self, reply: Reply, stream: ReplyStream, *, keep: bool, http10: bool) -> bool:
        """Send pieces as they come. False when the connection must end."""
        data = render_stream_head(reply, date=self._around.clock.line(), keep=keep, http10=http10)
        transport, framed = self._transport, not http10

        def frame(piece: bytes) -> bytes:
            if not framed:
                return piece
            return chunk(piece) + LAST_CHUNK if stream.ended else chunk(piece)

        def offer(piece: bytes) -> bool:
            return transport.offer(frame(piece))

        last, self._quiet = False, self._looker(stream, offer)
        try:
            async for piece in stream:
                await self._send(data + frame(piece))
                data = b""
                self._listen()
                await stream.pump(offer)
                await self._flush()
                last = stream.ended
            if framed and not last:
                data += LAST_CHUNK
            if data:
                await self._send(data)
        except OSError:
            self._gone = True  # nobody is there to read the rest
            raise
        finally:
            self._quiet, self.deadline = None, math.inf
            if not stream.close():
                with trio.CancelScope(shield=True):  # bounded inside: closing only shuts a socket
                    await stream.aclose()
        return keep and framed and not stream.broken

    def _looker(self, stream: ReplyStream, offer: Callable[[bytes], bool]) -> Callable[[], None]:
        """What looks whether a stream has fallen silent, and then gives a sign of life."""

        def look() -> None:
            if sign := stream.keep_alive():
                with contextlib.suppress(OSError):  # the next piece meets it too, in the right place
                    offer(sign)
            self._listen()

        return look

    def _listen(self) -> None:
        """From here on the next piece of the answer is waited for."""
        silence = math.inf if self._quiet is None else self._around.patience.silence
        self._waiting, self.deadline = Waiting.REPLY, trio.current_time() + silence

    async def _flush(self) -> None:
        """Send what the client did not take at once, within the stall limit."""
        self._waiting, self.deadline = Waiting.READER, trio.current_time() + self._around.patience.write_stall
        await self._transport.flush()
        self._listen()

    async def _send(self, data: bytes) -> None:
        """Every byte, with the stall limit counted anew for each slice."""
        transport = self._transport
        if len(data) <= SHORT:  # nearly always, and then there is nothing to wait for
            if not transport.offer(data):
                await self._flush()
            return
        stall = self._around.patience.write_stall
        self._waiting = Waiting.READER
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            self.deadline = trio.current_time() + stall
            await transport.send(view[start : start + _SLICE])
        self._listen()

    async def _pages(self, head: RequestHead) -> None:
        """Hypercorn's turn, for the rest of the connection: one request that is whole and checked, or a websocket."""
        around, buffer = self._around, self._buffer
        replay = bytes(buffer[: self._size])
        del buffer[: self._size]
        websocket = head.upgrade == "websocket"
        if websocket:
            check_handshake(head)
        if websocket and buffer:
            raise GatewayError(
                "malformed_request",
                "Bytes follow a request for another protocol before that was agreed to. The client has to wait.",
            )
        body = await Body(head, buffer, self._transport, around.patience.body, self._lost).read(around.max_body)
        if body and head.chunked:
            body = chunk(body)
        self._waiting = Waiting.PAGES
        around.watch.remove(self._transport.socket)
        await around.hand_over(self._transport, replay + body + (LAST_CHUNK if head.chunked else b""), more=websocket)

    async def _lost(self) -> None:
        """The client left in the middle of its request's body: end the exchange as if cancelled from outside."""
        self._gone = True
        self._scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _refuse(self, reply: Reply) -> None:
        self._clean = False
        data = render(reply, date=self._around.clock.line(), keep=False, http10=False, head_only=False)
        await self._send(data)

    async def _late(self) -> None:
        """The head did not arrive in time: say so, as far as the client takes it without waiting."""
        error = GatewayError("request_timeout", "The head of the request did not arrive in time. Send it again.")
        self._around.events.bad_request(error.code)
        with trio.move_on_after(_LINGER_SILENCE):
            await self._refuse(self._around.application.refusal(error))

    async def _linger(self, seconds: float) -> None:
        """Close our side, and drain what the client still sends until it has read the answer and closes too."""
        transport = self._transport
        self._waiting, self.deadline = Waiting.LINGERING, math.inf
        drained = 0
        with trio.move_on_after(_LINGER_SILENCE) as scope:
            end = trio.current_time() + seconds
            await transport.end()
            while drained < _LINGER_BYTES and (data := await transport.receive()):
                drained += len(data)
                scope.deadline = min(trio.current_time() + _LINGER_SILENCE, end)
