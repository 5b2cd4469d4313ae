"""The certificates that the door shows: chosen by the name a client asks for, and exchanged while connections go on."""

import logging
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import trio

from appliance.config.pem import BadPairError, Pair, read_pair
from appliance.config.schema import Tls
from appliance.errors import OperatorError

_LOG = logging.getLogger("appliance.door")
# Mozilla's "intermediate" list without its finite-field DH, for TLS 1.2; OpenSSL's own three serve TLS 1.3.
_CIPHERS = ":".join(
    f"ECDHE-{signed}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signed in ("ECDSA", "RSA")
)

# What tells one version of a file from the next: when it was written, its size and which file it is.
_Version = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All pairs at one moment, as handshakes use them."""

    pairs: tuple[Pair, ...]
    default: ssl.SSLContext
    exact: Mapping[str, ssl.SSLContext]
    wildcards: Mapping[str, ssl.SSLContext]  # by what follows "*."


class Certificates:
    """Certificates and keys from files. A handshake asks for a context; it keeps that one whatever is loaded later."""

    def __init__(self, pairs: Sequence[Tls], *, http2: bool, now: Callable[[], float]) -> None:
        """Load all pairs, of which the first serves clients that name no host or one that nobody has.

        Args:
            pairs: at least one.
            http2: HTTP/2 is offered beside HTTP/1.1.
            now: seconds since 1970.

        Raises:
            OperatorError: a pair cannot be used.
        """
        self._files = tuple(pairs)
        self._protocols = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self._now = now
        self._versions = self._look()
        self._loaded = self._load()

    @property
    def expiries(self) -> dict[str, float]:
        """Seconds since 1970 at which each certificate ends, by the path of its file."""
        return {pair.tls.cert: pair.not_after for pair in self._loaded.pairs}

    def context(self, name: str) -> ssl.SSLContext:
        """The context for a client that asked for a host, which is in lower case; "" for one that named none."""
        loaded = self._loaded
        found = loaded.exact.get(name)
        if found is None:
            found = loaded.wildcards.get(name.partition(".")[2])
        return loaded.default if found is None else found

    def reload(self) -> bool:
        """Load the files anew if one of them has changed; whether that happened.

        All pairs are exchanged together or none is: half-written files leave everything as it was.

        Raises:
            OperatorError: the files have changed and cannot be used; raised once for each change.
        """
        versions = self._look()  # before the files are read, so that a change under way is met again next time
        if versions == self._versions:
            return False
        self._versions = versions
        self._loaded = self._load()
        return True

    async def watch(self, interval: float = 5.0) -> None:
        """Reload whenever files change, looked at every `interval` seconds, until cancelled."""
        while True:
            await trio.sleep(interval)
            try:
                if self.reload():
                    _LOG.info("TLS: certificates loaded anew")
            except OperatorError as error:
                _LOG.warning("%s; the certificates loaded before stay in use", error)

    def _look(self) -> tuple[_Version, ...]:
        return tuple(_version(path) for pair in self._files for path in (pair.cert, pair.key))

    def _load(self) -> _Loaded:
        contexts, pairs = [], []
        try:
            for tls in self._files:
                context = _context(self._protocols)
                pairs.append(read_pair(tls, context))
                contexts.append(context)
        except BadPairError as error:
            raise OperatorError(str(error)) from None
        exact: dict[str, ssl.SSLContext] = {}
        wildcards: dict[str, ssl.SSLContext] = {}
        for pair, context in zip(pairs, contexts, strict=True):
            for name in pair.names:
                table, key = (wildcards, name[2:]) if name.startswith("*.") else (exact, name)
                table.setdefault(key, context)
            for warning in pair.warnings(self._now()):
                _LOG.warning("TLS: %s", warning)
        return _Loaded(tuple(pairs), contexts[0], exact, wildcards)


def _version(path: str) -> _Version:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each look is work for nothing
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(protocols: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # All of these ciphers are good: a client without AES in hardware may prefer the one that it is fast at.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(protocols)
    return context
