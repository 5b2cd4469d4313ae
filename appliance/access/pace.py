"""How long a refusal of a key waits, so that guessing is slow and a flood of bad keys costs little.

A client that goes wrong now and then is told at once. One that keeps on is answered once a second for each of its
connections at the most, and nobody with a good key is ever asked about here.
"""

import ipaddress

BURST = 10  # refusals of one address that are answered at once
SPACING = 1.0  # seconds between two refusals of one address after that
LONGEST = 2.0  # seconds that one refusal waits at most: its client shall still be told
ROOM = 4096  # addresses that are remembered; about a megabyte


class Pace:
    """Remembers who was refused, in bounded memory, and forgets whoever has been quiet."""

    __slots__ = ("_room", "_swept", "_until")

    def __init__(self, room: int = ROOM) -> None:
        """At most `room` addresses are remembered. When there are more, those that are not known wait the longest."""
        self._room = room
        self._until: dict[str, float] = {}  # network -> when all of its burst is back
        self._swept = float("-inf")

    def wait(self, address: str, now: float) -> float:
        """Seconds that this refusal has to wait.

        Args:
            address: of the client, as text.
            now: monotonic seconds, never less than before.
        """
        network = _network(address)
        until = self._until.get(network)
        if until is None and len(self._until) >= self._room:
            self._sweep(now)
            if len(self._until) >= self._room:
                return LONGEST
        until = max(until or now, now) + SPACING
        wait = min(max(until - now - BURST * SPACING, 0.0), LONGEST)
        self._until[network] = min(until, now + BURST * SPACING + LONGEST)
        return wait

    @property
    def remembered(self) -> int:
        """How many addresses are remembered."""
        return len(self._until)

    def _sweep(self, now: float) -> None:
        if now - self._swept >= SPACING:  # it looks at all of them
            self._swept = now
            self._until = {network: until for network, until in self._until.items() if until > now}


def _network(address: str) -> str:
    """Whoever has one address of IPv6 has at least 2**64 of them, which count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return address
