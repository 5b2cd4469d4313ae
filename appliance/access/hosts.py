"""Which host names this server answers to where no key protects it.

A web page can make its own name point at this machine and then talk to us from the visitor's browser (DNS rebinding).
Its requests carry that name in their Host header, which is how they are told from honest ones.
"""

import ipaddress
from collections.abc import Sequence

from appliance.errors import GatewayError

_REMEMBERED = 64  # Host headers; nearly all clients use the same few


class KnownHosts:
    """The names that are ours: IP literals, localhost, the machine's own name, and those of the configuration."""

    def __init__(self, names: Sequence[str], machine: str) -> None:
        """`machine` is the host name of this machine, with or without its domain."""
        own = machine.lower()
        short = own.partition(".")[0]
        self._ours: set[str] = set()  # headers that were judged before
        self._always = {"localhost", own, short, f"{short}.local"}
        self.answer_to(names)

    def answer_to(self, names: Sequence[str]) -> None:
        """Take other names from the configuration."""
        self._names = self._always | {name.lower() for name in names}
        self._ours.clear()

    def check(self, host: str | None) -> None:
        """Let a request pass whose Host header (port and all) names us; one without the header is no browser's.

        Raises:
            GatewayError: `misdirected_host`.
        """
        if host is None or host in self._ours:
            return
        if self._is_ours(_without_port(host).lower().rstrip(".")):
            if len(self._ours) < _REMEMBERED:
                self._ours.add(host)
            return
        raise GatewayError(
            "misdirected_host",
            "This server does not answer to the host name of this request. Use its address or its own name; "
            "its owner can add others to `names` in [server].",
        )

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
