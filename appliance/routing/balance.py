"""Which of several replicas gets the next request. Pure."""

import hashlib
from collections.abc import Mapping
from math import ceil
from typing import Literal

How = Literal["only", "least-busy", "prefix", "overflow"]


def choose(affinity: bytes, loads: Mapping[str, int], bound: float = 1.25) -> tuple[str, How]:
    """The replica that has most likely seen this conversation, unless it is overloaded: then the next likely one.

    Rendezvous hashing: each replica draws a number for each affinity and the highest wins. A replica that leaves takes
    only its own conversations along, and one that comes takes an equal part from everybody. No replica is given more
    than `bound` times the mean, so that one popular prompt cannot drown one replica while the others idle.

    Args:
        affinity: what conversations have in common that share a prefix; empty takes the one with the fewest exchanges,
            by name where several have as few.
        loads: exchanges under way by replica; not empty.
        bound: at least 1.

    Returns:
        The replica, and why it: "only" when there is one, "overflow" when the likely one has too much to do.
    """
    if len(loads) == 1:
        return next(iter(loads)), "only"
    if not affinity:
        return min(loads, key=lambda name: (loads[name], name)), "least-busy"
    likely = sorted(loads, key=lambda name: (_draw(affinity, name), name), reverse=True)
    most = ceil(bound * (sum(loads.values()) + 1) / len(loads))
    chosen = next(name for name in likely if loads[name] < most)  # there is one: the mean is below the bound
    return chosen, "prefix" if chosen == likely[0] else "overflow"


def _draw(affinity: bytes, name: str) -> bytes:
    return hashlib.blake2b(affinity, key=name.encode()[:64], digest_size=8).digest()
