"""What a page is, and what it is asked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.console.sessions import Session
from appliance.domain.http import Reply, Request

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of somebody who is logged in.

    Attributes:
        request: as it came; for the audit.
        session: whose.
        query, form: members by name; of several with one name the last.
        body: of an order that is no form.
        welcome: whether the session still goes on, for what takes long.
    """

    request: Request
    session: Session
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    welcome: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Done:
    """An order was carried out, or not: the page is shown again with a message.

    Attributes:
        to: another page's address and query, where it is not this one.
    """

    message: str
    ok: bool = True
    to: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """An order's answer is the page with these values as well; nothing of it is kept."""

    values: Values
    status: int = 200


Action = Callable[[Asked], Awaitable[Done | Shown | Reply]]


async def nothing(_: Asked) -> Values:
    """A page that lives only."""
    return {}


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        name: of its template, and the last part of its address; "now" is at `/`.
        title: in the list of pages.
        values: for the template.
        actions: what can be ordered on it, by the last part of the address that its form posts to.
        parts: templates of its live parts.
        live: values of these, the same for everybody; must not wait, or cost much.
        streams: replies of its own, by the last part of their address (GET).
        listed: it is in the list of pages.
    """

    name: str
    title: str
    values: Callable[[Asked], Awaitable[Values]] = nothing
    actions: Mapping[str, Action] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    live: Callable[[], Values] = dict
    streams: Mapping[str, Callable[[Asked], Awaitable[Reply]]] = field(default_factory=dict)
    listed: bool = True

    @property
    def address(self) -> str:
        """Its path."""
        return "/" if self.name == "now" else f"/console/{self.name}"
