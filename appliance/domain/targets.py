"""Where a request can be sent, and the runtime that makes it ready."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, Protocol
from urllib.parse import urlsplit

from appliance.domain.secret import Secret
from appliance.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a model server.

    Attributes:
        scheme: "unix" for a socket in the file system, else "http" or "https".
        host: name or address; for "unix" the socket's path.
        port: 0 for "unix".
        prefix: path in front of `/v1/…`; empty or starting with a slash, never ending in one.
        proxy: URL of the HTTP proxy that leads there, for "https"; empty for the direct way.
    """

    scheme: Literal["unix", "http", "https"]
    host: str
    port: int = 0
    prefix: str = ""
    proxy: str = ""

    @classmethod
    def from_url(cls, url: str) -> "Address":
        """From a backend's URL; a trailing `/v1` or slash makes no difference.

        Raises:
            ValueError: the text says what is wrong with the URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError("must start with http:// or https://")
        if not parts.hostname:
            raise ValueError("names no host")
        if parts.username or parts.password:
            raise ValueError("must not hold a credential; use key_env or key_file")
        if parts.query or parts.fragment:
            raise ValueError("must not have a query or a fragment")
        prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
        default = 443 if parts.scheme == "https" else 80
        scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
        return cls(scheme, parts.hostname, parts.port or default, prefix)

    @property
    def authority(self) -> str:
        """The Host header for this address."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def on_this_box(self) -> bool:
        """Whether it is on this machine, as far as the text tells: a name other than localhost may be anywhere."""
        if self.scheme == "unix" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.host}"
        return f"{self.scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model server that answers.

    Attributes:
        address: where.
        credential: what it wants, sent as a Bearer token.
        shared: requests to it carry credentials of different people, so nothing of one may be kept for the next.
    """

    address: Address
    credential: Secret | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One thing a request can be sent to.

    Attributes:
        name: "runtime", "backend/model" or "provider/model", as in the config and in logs.
        kind: "runtime" targets become ready through `Runtime.ensure_ready`; the others have an endpoint.
        owner: the runtime's, the backend's or the provider's name.
        engine: a key of `domain.engines.ENGINES`.
        model: the name that the engine knows the model by; empty to leave the client's name as it is.
        endpoint: where a backend or a provider listens; None for a runtime.
        key: what a provider is asked with.
        callers: that key is the caller's own.
    """

    name: str
    kind: Literal["runtime", "backend", "provider"]
    owner: str
    engine: str
    model: str
    endpoint: Endpoint | None = None
    key: Secret | None = None
    callers: bool = False

    @property
    def on_this_box(self) -> bool:
        """Whether what is sent to it stays on this machine; a provider's address here is only where its way begins."""
        if self.kind == "provider":
            return False
        return self.endpoint is None or self.endpoint.address.on_this_box


class LeaseUser(Protocol):
    """Whoever uses a replica.

    Attributes:
        bytes_out: grows whenever something arrives from the replica.
    """

    bytes_out: int

    def cut(self, error: GatewayError) -> None:
        """The replica is about to end: this is the end of the answer. Cheap, never waits."""
        ...


@dataclass(eq=False, slots=True)
class Lease:
    """The use of one replica by one exchange. While it is held, the replica is busy: not idle, not evicted.

    Attributes:
        endpoint: where the replica answers.
        replica: its name.
        user: who has it.
        chosen: how it was chosen among several, a word of `routing.balance.How`; empty where there is one only.
    """

    endpoint: Endpoint
    replica: str
    _on_release: Callable[["Lease"], None] | None = field(default=None, repr=False)
    user: LeaseUser | None = field(default=None, repr=False)
    chosen: str = ""

    @property
    def relayed(self) -> int:
        """A number that grows whenever something arrives from the replica; a sign of life for its supervisor."""
        return self.user.bytes_out if self.user is not None else 0

    def cut(self, error: GatewayError) -> None:
        """The replica is about to end, and what it still answers ends with an error."""
        if self.user is not None:
            self.user.cut(error)

    def release(self) -> None:
        """Give it back. Cheap, never waits; a second time does nothing."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release(self)


class Runtime(Protocol):
    """What the gateway may ask of whoever owns the model processes. It asks; it never peeks and decides."""

    async def ensure_ready(self, runtime: str, affinity: bytes = b"", *, elsewhere: bool = False) -> Lease:
        """The use of a ready replica; starts the runtime if it is not running. The caller releases it.

        Any number of callers start it once. Leaving (being cancelled) while waiting costs nothing.

        Args:
            runtime: its name.
            affinity: requests with the same value go to the same replica while it is not overloaded; empty takes
                the least busy one.
            elsewhere: somebody else could answer: do not wait for memory that others hold.

        Raises:
            GatewayError: `queue_full`, `model_loading`, `model_crashed`, `model_quarantined`, `model_blocked` or
                `draining`, with `state` and `reason` in its extras and an honest `retry_after`.
        """
        ...

    async def seen_to_end(self, lease: Lease, within: float) -> bool:
        """Whether the process that a lease is of serves no more, in the eyes of its owner, who may need a moment.

        Args:
            lease: of a replica that nobody could connect to.
            within: seconds.
        """
        ...

    async def stop(self, runtime: str) -> None:
        """Stop every replica and return when its whole process tree is gone. Stopping a stopped one is fine."""
        ...
