"""What is followed, over websockets: whatever path of `/ops/v1` streams events, each piece a message.

A browser cannot send a key in a header, so that it may offer it as a protocol: `appliance` and `appliance-key.KEY`.
Never in the address, which everybody logs.
"""

from collections.abc import Sequence
from dataclasses import replace

import trio

from appliance.api.handshake import Handshake
from appliance.domain.feeds import Feed
from appliance.domain.http import Application, Reply, Request
from appliance.errors import GatewayError
from appliance.ops.following import FeedStream

PROTOCOL = "appliance"
KEY = "appliance-key."
_PATIENCE = 60.0  # seconds; the door pings, so silence of ours means nothing
_GOING_AWAY, _NORMAL = 1001, 1000
_LONGEST_REASON = 123  # bytes, by RFC 6455


class FeedSockets:
    """An `api.handshake.SocketEndpoint`.

    Args:
        application: answers the handshake as it would a request for events, with all its checks.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    def serves(self, path: str) -> bool:
        """Whether a path is an operator's."""
        return path.startswith("/ops/")

    def refusal(self, error: GatewayError) -> Reply:
        """See `api.handshake.SocketEndpoint`."""
        return self._application.refusal(error)

    async def __call__(self, handshake: Handshake) -> None:
        """One reader, until it leaves or nothing more will come."""
        reply = await self._application(_as_events(handshake.request, handshake.protocols))
        if not isinstance(reply.body, FeedStream):
            if reply.status < 400:
                reply = self.refusal(GatewayError("malformed_request", "There is nothing to follow here."))
            await handshake.refuse(reply)
            return
        await handshake.accept(PROTOCOL if PROTOCOL in handshake.protocols else None, [])
        async with trio.open_nursery() as nursery:

            async def leave_with_the_reader() -> None:
                while await handshake.receive() is not None:
                    pass  # it has nothing to say
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave_with_the_reader, name="reader of a feed")
            await _tell(handshake, reply.body.feed)
            nursery.cancel_scope.cancel()


async def _tell(handshake: Handshake, feed: Feed) -> None:
    try:
        while True:
            piece = await feed.receive(_PATIENCE)
            if piece is not None:
                await handshake.send(piece.data.decode())
    except GatewayError as error:
        reason = error.message.encode()[:_LONGEST_REASON].decode(errors="ignore")
        await handshake.close(_GOING_AWAY if error.code == "draining" else _NORMAL, reason)


def _as_events(request: Request, protocols: Sequence[str]) -> Request:
    headers = [header for header in request.headers if header[0] != "accept"]
    headers.append(("accept", "text/event-stream"))
    headers += [("authorization", f"Bearer {name.removeprefix(KEY)}") for name in protocols if name.startswith(KEY)]
    return replace(request, headers=headers, known={})
