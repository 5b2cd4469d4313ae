"""From the headers of a request to the provider that it is meant for, with the caller's own key for it.

The key is checked to be one line of visible characters, so that no library can ever have a reason to complain about it
with the key in the complaint. It is never part of a message.
"""

import re
from typing import Any, cast

from appliance.domain.http import Headers
from appliance.domain.providers import PROVIDERS, Byok
from appliance.domain.secret import Secret
from appliance.errors import GatewayError

_PROVIDER = "x-byok-provider"
_KEY = "x-byok-api-key"
_USABLE = re.compile(r"[!-~]{1,4096}")


def byok_of(headers: Headers, known: dict[object, Any]) -> Byok | None:
    """What the headers say; None when they say nothing, as nearly always.

    Args:
        headers: names in lower case.
        known: what was found out from these very headers before.

    Raises:
        GatewayError: `invalid_byok_provider` or `missing_byok_key`.
    """
    if byok_of not in known:
        known[byok_of] = _read(headers)
    return cast("Byok | None", known[byok_of])


def _read(headers: Headers) -> Byok | None:
    providers = [value.strip() for name, value in headers if name == _PROVIDER]
    keys = [value.strip() for name, value in headers if name == _KEY]
    if not providers and not keys:
        return None
    if len(set(providers)) != 1 or providers[0].lower() not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise GatewayError("invalid_byok_provider", f"Send one header `{_PROVIDER}`, with one of: {known}.")
    provider = providers[0].lower()
    if not keys:
        return Byok(provider)
    if len(set(keys)) != 1 or not _USABLE.fullmatch(keys[0]):
        message = f"Send one header `{_KEY}`, with your own key for {provider}: visible characters, and no spaces."
        raise GatewayError("missing_byok_key", message)
    return Byok(provider, Secret(keys[0]))
