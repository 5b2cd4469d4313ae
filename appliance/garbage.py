"""Python's search for reference cycles, kept from making tokens late.

The interpreter looks at its youngest objects often and shortly. Now and then it looks at all there are, which takes
tens of milliseconds when a thousand streams are open, and no token leaves meanwhile. So the short looks stay as they
are, and the long one is taken when no stream flows; where some always do, at long intervals.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

_YOUNG = 700  # objects made and kept until the youngest are looked at: some 20 µs
_MIDDLE = 3  # such looks until the next older ones are: some 100 µs
_NEVER = 2**30
_EVERY = 10.0  # seconds between two thoughts about a long look
_WORTH = 50  # middle looks since the last long one, about 100,000 objects
_LONGEST = 900.0  # seconds without a long look, on a server that always has streams


@contextmanager
def seldom() -> Iterator[None]:
    """Inside, nobody but `collect` looks at everything; what exists at the beginning is never looked at again."""
    before = gc.get_threshold()
    gc.unfreeze()  # `cli.main` has put away what was imported
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def collect(flowing: Callable[[], int]) -> None:
    """Take the long looks until cancelled; `flowing` is how many streams a pause would hold up."""
    last = trio.current_time()
    while True:
        await trio.sleep(_EVERY)
        now = trio.current_time()
        if due(gc.get_count()[2], flowing(), now - last):
            gc.collect()
            last = now


def due(looks: int, flowing: int, since: float) -> bool:
    """Whether to look at everything now.

    Args:
        looks: how often the middle generation was looked at since.
        flowing: streams that would wait.
        since: seconds since the last long look.
    """
    return looks >= _WORTH and (flowing == 0 or since >= _LONGEST)
