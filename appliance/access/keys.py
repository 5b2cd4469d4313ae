"""From the headers of a request to the caller, before anything else is read."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

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
        local_only: nothing that it sends may leave the box.
    """

    name: str
    scopes: frozenset[str]
    models: tuple[str, ...]
    local_only: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """One text that opens something, or once did.

    Attributes:
        digest: its SHA-256; the text itself is never kept.
        caller: who it is.
        until: seconds since 1970 from which on it is refused; None for never.
        ended: what it is called then.
    """

    digest: bytes
    caller: Caller
    until: float | None = None
    ended: Literal["has expired", "was revoked", "was replaced by a new one"] = "has expired"


_ANONYMOUS = Caller("anonymous", frozenset({"infer"}), ("*",))
_NOBODYS = Credential(b"", _ANONYMOUS)  # of whoever has none


def credential_of(key: Key) -> Credential:
    """The credential that a section of the configuration, or a stored key like one, describes."""
    caller = Caller(key.name, frozenset(key.scopes), key.models, key.local_only)
    return Credential(digest_of(key.hash), caller, key.expires)


def digest_of(hash_text: str) -> bytes:
    """The bytes of "sha256:" and hex digits."""
    return bytes.fromhex(hash_text.removeprefix("sha256:"))


class KeyRing:
    """Every key that opens something, by the SHA-256 of its text; the text itself is never kept."""

    def __init__(
        self,
        keys: Sequence[Key],
        environment: Sequence[Secret] = (),
        *,
        date: Callable[[], float],
        open: bool = False,  # noqa: A002 - the setting's own word
        own: Sequence[Credential] = (),
    ) -> None:
        """With `open`, whoever has no key of ours is anonymous; `date` is seconds since 1970; `own` ones are ours."""
        self._open = open
        self._own = tuple(own)
        self._date = date
        self.change(keys, environment)

    def change(
        self, keys: Sequence[Key], environment: Sequence[Secret] = (), stored: Sequence[Credential] = ()
    ) -> None:
        """These are the keys from now on; what connections know of callers is forgotten.

        Where a text is in several places the environment counts before the configuration, and both before what is
        stored.
        """
        self._mark = object()
        self._credentials: dict[bytes, Credential] = {}
        for number, secret in enumerate(environment, 1):
            caller = Caller(f"env-{number}", frozenset({"infer"}), ("*",))
            digest = _digest(secret.reveal.encode())
            self._credentials[digest] = Credential(digest, caller)
        for credential in [*self._own, *map(credential_of, keys), *stored]:
            self._credentials.setdefault(credential.digest, credential)

    def find(self, headers: Headers, known: dict[object, Any] | None = None) -> Caller:
        """The caller; either header suffices.

        Args:
            headers: names in lower case.
            known: what was found out from these very headers before. What another ring knew, or this one before it
                changed, says nothing.

        Raises:
            GatewayError: `invalid_api_key`. That a key has ended is told to whoever has that very key.
        """
        if known is not None and (known_one := known.get(self._mark)) is not None:
            credential = cast("Credential", known_one)
            if credential.until is None or self._date() < credential.until:
                return credential.caller
        offered = _credentials(headers)
        what = "The key is not one of this server's" if offered else "No key was sent"
        for text in offered:
            found = self._lookup(text)
            if found is None:
                continue
            if found.until is None or self._date() < found.until:
                if known is not None:
                    known[self._mark] = found
                return found.caller
            what = f"This key {found.ended}"
        if self._open:  # the SDKs always send some key, if only a dummy
            if known is not None:
                known[self._mark] = _NOBODYS
            return _ANONYMOUS
        raise GatewayError(
            "invalid_api_key",
            f"{what}. Send `Authorization: Bearer KEY` or `x-api-key: KEY`; the server's owner hands out keys.",
        )

    def holder(self, digest: bytes) -> Caller | None:
        """Whose key has this digest; None where there is none, or its time is over."""
        found = self._credentials.get(digest)
        return found.caller if found is not None and (found.until is None or self._date() < found.until) else None

    def _lookup(self, text: str) -> Credential | None:
        """By digest: the time tells at most where two SHA-256 values differ, which says nothing about any key."""
        return self._credentials.get(_digest(text.encode("latin-1", "replace")))  # a header's bytes as they came


def digest_of_text(key: str) -> bytes:
    """The digest under which a ring knows a key."""
    return _digest(key.encode("utf-8", "replace"))


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
