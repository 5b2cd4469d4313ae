"""Who comes in: whoever has a key with the scope `admin`, or a link that has not been used yet.

A session ends with the key that it came by: it is looked up again at every request, so a key that is revoked, replaced
or expired opens nothing any more.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from appliance.access.keys import KeyRing, digest_of_text
from appliance.access.pace import Pace
from appliance.console.sessions import Session, Sessions
from appliance.domain.http import Request
from appliance.errors import GatewayError
from appliance.ops.gate import Gate

BY_LINK = "one-time link"
_LONGEST = 4096  # characters of what is taken for a key


@dataclass(frozen=True, slots=True)
class Entry:
    """The door of the console.

    Attributes:
        gate: keeps what is done here.
        clock: monotonic seconds.
        wait: waits so many seconds.
        pace: of refusals; the API's own, so that guessing here is no way around it.
    """

    keys: KeyRing
    gate: Gate
    sessions: Sessions
    clock: Callable[[], float]
    wait: Callable[[float], Awaitable[None]]
    pace: Pace = field(default_factory=Pace)

    async def log_in(self, text: str, request: Request) -> str:
        """The token of a new session.

        Args:
            text: a key, or the code of a link.
            request: that brought it.

        Raises:
            GatewayError: `invalid_api_key`: it is neither; told after a while to who tries again and again.
        """
        text, now = text.strip()[:_LONGEST], self.clock()
        digest = digest_of_text(text)
        caller = self.keys.holder(digest)
        if caller is not None and "admin" in caller.scopes:
            self.gate.audit("console login", "", caller.name, request, ok=True)
            return self.sessions.begin(caller.name, digest, now)
        by = self.sessions.use_link(text, now)
        if by is not None:
            self.gate.audit("console login", "", BY_LINK, request, ok=True, detail=f"made by {by}")
            return self.sessions.begin(BY_LINK, None, now)
        lacks = caller is not None
        self.gate.audit(
            "console login", "", caller.name if caller else "", request, ok=False, detail="no admin" if lacks else ""
        )
        await self.wait(self.pace.wait(request.peer, now))
        if lacks:
            raise GatewayError(
                "scope_missing", "This key is good, but lacks the scope `admin`, which the console needs."
            )
        raise GatewayError(
            "invalid_api_key", "This is no key of this server, nor a link that still works. Links work once."
        )

    def session(self, token: str) -> Session | None:
        """The session of a token; None when it is over."""
        session = self.sessions.find(token, self.clock()) if token else None
        if session is None or session.key is None:
            return session
        caller = self.keys.holder(session.key)
        if caller is None or "admin" not in caller.scopes:
            self.sessions.end(token)
            return None
        return session
