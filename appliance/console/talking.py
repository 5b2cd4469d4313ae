"""The playground: a chat through the API's own route, with all that belongs to it, and a key that no browser ever sees.

The key is made at the start and kept in memory; it opens the inference API and nothing else, and what it uses is
accounted to the name `console`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.access.keys import Caller, Credential, digest_of_text
from appliance.console.pages import Asked, Values
from appliance.console.views import playground
from appliance.domain.http import Headers, Reply, Request
from appliance.domain.secret import Secret

NAME = "console"
_PATH = "/v1/chat/completions"
_PASSED_ON = ("content-type", "host", "x-request-id")
_SHOWN = ("content-type", "x-request-id", "x-gateway-target", "x-gateway-queue-ms", "retry-after", "cache-control")


def own_credential(key: Secret) -> Credential:
    """What the console's own key opens."""
    return Credential(digest_of_text(key.reveal), Caller(NAME, frozenset({"infer"}), ("*",)))


class _Body:
    """A body that has been read already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit: int) -> bytes:  # noqa: ARG002 - it is there, and the console's own limit is smaller
        return self._data


@dataclass(frozen=True, slots=True)
class Playground:
    """What the page needs.

    Attributes:
        ask: the application that everybody asks.
        key: the console's own.
        state: an `ops.snapshot`.
        chats: names of all models that chat.
        default: which one answers requests that name none.
    """

    ask: Callable[[Request], Awaitable[Reply]]
    key: Secret
    state: Callable[[], Mapping[str, Any]]
    chats: Callable[[], Sequence[str]]
    default: Callable[[], str]

    async def page(self, asked: Asked) -> Values:
        """The values of the page."""
        return playground.values(self.state(), self.chats(), asked.query.get("model", ""), self.default())

    async def chat(self, asked: Asked) -> Reply:
        """One chat completion; the body is that of the API, and so is the answer."""
        headers: Headers = [(name, value) for name, value in asked.request.headers if name in _PASSED_ON]
        headers.append(("authorization", f"Bearer {self.key.reveal}"))
        request = Request("POST", _PATH, "", headers, asked.request.peer, _Body(asked.body))
        request.interrupt = asked.request.interrupt
        reply = await self.ask(request)
        reply.headers = [header for header in reply.headers if header[0] in _SHOWN]
        reply.headers.append(("x-content-type-options", "nosniff"))
        return reply
