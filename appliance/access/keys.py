"""From the headers of a request to the caller, before anything else is read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from appliance.config.schema import Key
from appliance.domain.http import Headers
from appliance.domain.secret import Secret
from appliance.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking.

    Attributes:
        name: the key's name; "anonymous" where no key is needed.
        scopes: what the key may do.
        models: patterns of the model names it may use.
    """

    name: str
    scopes: frozenset[str]
    models: tuple[str, ...]


_ANONYMOUS = Caller("anonymous", frozenset({"infer"}), ("*",))


class KeyRing:
    """Every key that opens something, by the SHA-256 of its text; the text itself is never kept."""

    def __init__(self, keys: Sequence[Key], environment: Sequence[Secret] = (), *, open: bool = False) -> None:  # noqa: A002 - the setting's own word
        """With `open`, whoever has no key of ours is anonymous."""
        self._open = open
        self.change(keys, environment)

    def change(self, keys: Sequence[Key], environment: Sequence[Secret] = ()) -> None:
        """These are the keys from now on; what connections know of callers is forgotten."""
        self._mark = object()
        self._callers: dict[bytes, Caller] = {}
        for number, secret in enumerate(environment, 1):
            caller = Caller(f"env-{number}", frozenset({"infer"}), ("*",))
            self._callers[_digest(secret.reveal.encode())] = caller
        for key in keys:
            digest = bytes.fromhex(key.hash.removeprefix("sha256:"))
            self._callers.setdefault(digest, Caller(key.name, frozenset(key.scopes), key.models))

    def find(self, headers: Headers, known: dict[object, Any] | None = None) -> Caller:
        """The caller; either header suffices.

        Args:
            headers: names in lower case.
            known: what was found out from these very headers before. What another ring knew, or this one before it
                changed, says nothing.

        Raises:
            GatewayError: `invalid_api_key`.
        """
        if known is not None and (caller := known.get(self._mark)) is not None:
            return cast("Caller", caller)
        offered = _credentials(headers)
        for text in offered:
            if (caller := self._lookup(text)) is not None:
                if known is not None:
                    known[self._mark] = caller
                return caller
        if self._open:  # the SDKs always send some key, if only a dummy
            return _ANONYMOUS
        what = "The key is not one of this server's" if offered else "No key was sent"
        raise GatewayError(
            "invalid_api_key",
            f"{what}. Send `Authorization: Bearer KEY` or `x-api-key: KEY`; the server's owner hands out keys.",
        )

    def _lookup(self, text: str) -> Caller | None:
        """By digest: the time tells at most where two SHA-256 values differ, which says nothing about any key."""
        return self._callers.get(_digest(text.encode("latin-1", "replace")))  # a header's bytes as they came


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _credentials(headers: Headers) -> list[str]:
    """What was offered as a key, a Bearer token first."""
    tokens, keys = [], []
    for name, value in headers:
        if name == "authorization":
            scheme, _, token = value.strip().partition(" ")
            if scheme.lower() == "bearer" and (token := token.strip()):
                tokens.append(token)
        elif name == "x-api-key" and (key := value.strip()):
            keys.append(key)
    return tokens + keys
