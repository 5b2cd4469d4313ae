"""Which of several replicas gets the next request. Pure."""

import hashlib
from collections.abc import Mapping
from math import ceil


def least_busy(loads: Mapping[str, int]) -> str:
    """The replica with the fewest exchanges; by name where several have as few.

    Args:
        loads: exchanges under way by replica; not empty.
    """
    return min(loads, key=lambda name: (loads[name], name))


def prefix(affinity: bytes, loads: Mapping[str, int], bound: float = 1.25) -> str:
    """The replica that has most likely seen this conversation, unless it is overloaded: then the next likely one.

    Rendezvous hashing: each replica draws a number for each affinity and the highest wins. A replica that leaves takes
    only its own conversations along, and one that comes takes an equal part from everybody. No replica is given more
    than `bound` times the mean, so that one popular prompt cannot drown one replica while the others idle.

    Args:
        affinity: what conversations have in common that share a prefix; empty takes the least busy one.
        loads: exchanges under way by replica; not empty.
        bound: at least 1.
    """
    if not affinity or len(loads) == 1:
        return least_busy(loads)
    most = ceil(bound * (sum(loads.values()) + 1) / len(loads))
    free = [name for name, load in loads.items() if load < most]  # never empty: the mean is below the bound
    return max(free, key=lambda name: (_draw(affinity, name), name))


def _draw(affinity: bytes, name: str) -> bytes:
    return hashlib.blake2b(affinity, key=name.encode()[:64], digest_size=8).digest()
