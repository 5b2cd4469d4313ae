"""Paths and methods to endpoints, as data."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from appliance.domain.calls import Dialect
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError

_MESSAGES = re.compile(r"/v1/messages(?:/|$)")
Endpoint = Callable[[Request, str], Awaitable[Reply]]  # the request, and what `{…}` at the path's end matched


@dataclass(frozen=True, slots=True)
class Route:
    """One row. A template ending in `{id}` takes the rest of the path, slashes and `%2F` alike."""

    method: str
    template: str
    endpoint: Endpoint

    def match(self, path: str) -> str | None:
        """What `{id}` stands for ("" where there is none), or None."""
        stem, brace, _ = self.template.partition("{")
        if not brace:
            return "" if path == self.template else None
        return unquote(path[len(stem) :]) if path.startswith(stem) and len(path) > len(stem) else None


def dialect_of(request: Request) -> Dialect:
    """What a client speaks where no endpoint says it: all of Anthropic's clients name the version of their API."""
    of_messages = _MESSAGES.search(request.path) or request.header("anthropic-version")
    return Dialect.MESSAGES if of_messages else Dialect.OPENAI


class Router:
    """The table. Paths without `{…}` are looked up, the others searched top to bottom."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fixed: dict[str, list[tuple[Route, str]]] = {}
        for route in routes:
            if "{" not in route.template:
                self._fixed.setdefault(route.template, []).append((route, ""))
        self._open = tuple(route for route in routes if "{" in route.template)

    def knows(self, path: str) -> bool:
        """Whether any route has this path."""
        return path in self._fixed or bool(self._found(path))

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route and its argument. HEAD is answered like GET.

        Raises:
            GatewayError: `unknown_url` or `method_not_allowed`.
        """
        found = self._found(path)
        if not found:
            raise GatewayError(
                "unknown_url",
                f"There is no {path[:200]!r} here. The API is under /v1; a client's base URL ends in /v1. "
                "What there is: /docs.",
            )
        wanted = "GET" if method == "HEAD" else method
        for match in found:
            if match[0].method == wanted:
                return match
        allowed = ", ".join(sorted({route.method for route, _ in found}))
        raise GatewayError(
            "method_not_allowed", f"{method} does not work here; use {allowed}.", extras={"allow": allowed}
        )

    def _found(self, path: str) -> list[tuple[Route, str]]:
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed
        return [(route, argument) for route in self._open if (argument := route.match(path)) is not None]
