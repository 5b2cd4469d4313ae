"""Who is logged in, and links that log in once. All of it is in memory: a restart logs everybody out.

Only digests of tokens are kept, so nothing here opens anything.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST = 12 * 3600.0  # seconds that a session may last
IDLE = 2 * 3600.0  # seconds without a request after which it ends
LINK_LASTS = 600.0  # seconds
MOST_SESSIONS = 256
MOST_LINKS = 16
_MOST_MESSAGES = 8


@dataclass(slots=True)
class Session:
    """One browser that is logged in.

    Attributes:
        name: who it is, as the audit says it.
        key: digest of the key that it came with; None for who came by a link.
        csrf: what its forms carry.
        ends: monotonic seconds after which it is over in any case.
        seen: monotonic seconds of its last request.
        messages: what its next page says: text, and whether it is good news.
    """

    name: str
    key: bytes | None
    csrf: str
    ends: float
    seen: float
    messages: list[tuple[str, bool]] = field(default_factory=list)

    def say(self, text: str, *, ok: bool) -> None:
        """Say something on its next page."""
        self.messages = [*self.messages, (text, ok)][-_MOST_MESSAGES:]

    def told(self) -> list[tuple[str, bool]]:
        """What was to be said, which is then said."""
        messages, self.messages = self.messages, []
        return messages


class Sessions:
    """Begins and ends sessions; `new_token` gives a fresh text that nobody can guess."""

    def __init__(self, new_token: Callable[[], str]) -> None:
        self.new_token = new_token
        self._sessions: dict[bytes, Session] = {}
        self._links: dict[bytes, tuple[float, str]] = {}

    def begin(self, name: str, key: bytes | None, now: float) -> str:
        """Begin a session; the token that its browser shall send. Where there are too many, the most idle one ends."""
        self._sweep(now)
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda digest: self._sessions[digest].seen)]
        token = self.new_token()
        self._sessions[_digest(token)] = Session(name, key, self.new_token(), now + LONGEST, now)
        return token

    def find(self, token: str, now: float) -> Session | None:
        """The session of a token, which has been seen now; None when there is none (any more)."""
        digest = _digest(token)
        session = self._sessions.get(digest)
        if session is None or _over(session, now):
            self._sessions.pop(digest, None)
            return None
        session.seen = now
        return session

    def end(self, token: str) -> None:
        """Log out."""
        self._sessions.pop(_digest(token), None)

    def new_link(self, by: str, now: float) -> str:
        """A code that logs in once, soon; the oldest one is void where there are too many."""
        self._sweep(now)
        while len(self._links) >= MOST_LINKS:
            del self._links[next(iter(self._links))]
        code = self.new_token()
        self._links[_digest(code)] = now + LINK_LASTS, by
        return code

    def use_link(self, code: str, now: float) -> str | None:
        """Who made the link of a code, which is void from here on; None for a code that is void or none."""
        until, by = self._links.pop(_digest(code), (now, ""))
        return by if now < until else None

    def _sweep(self, now: float) -> None:
        self._sessions = {digest: one for digest, one in self._sessions.items() if not _over(one, now)}
        self._links = {digest: link for digest, link in self._links.items() if now < link[0]}


def _over(session: Session, now: float) -> bool:
    return now >= session.ends or now - session.seen >= IDLE


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
