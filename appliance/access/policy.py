"""What a caller may do."""

import ipaddress
from functools import lru_cache

from appliance.access.keys import Caller
from appliance.domain.http import Request
from appliance.domain.patterns import covers
from appliance.errors import GatewayError


def may_use(caller: Caller, model: str) -> bool:
    """Whether one of the key's patterns covers the model; "*" stands for any run of characters."""
    models = caller.models
    return "*" in models or model in models or _covered(models, model)


@lru_cache(maxsize=4096)  # asked of every request
def _covered(models: tuple[str, ...], model: str) -> bool:
    return any(covers(pattern, model) for pattern in models)


def require_scope(caller: Caller, scope: str) -> None:
    """Refuse a caller without a scope.

    Raises:
        GatewayError: `scope_missing`.
    """
    if scope not in caller.scopes:
        raise GatewayError(
            "scope_missing",
            f"The key {caller.name!r} lacks the scope {scope!r}. The server's owner can add it to the key.",
        )


def local_without_proxy(request: Request) -> bool:
    """Whether the request comes from this machine itself and not through a proxy on it."""
    if any(name == "forwarded" or name.startswith("x-forwarded-") for name, _ in request.headers):
        return False
    try:
        return ipaddress.ip_address(request.peer).is_loopback
    except ValueError:
        return False
