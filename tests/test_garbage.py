import gc
import weakref

import pytest
import trio

from appliance.garbage import collect, due, seldom


class Knot:
    """A reference cycle: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize(
    ("looks", "flowing", "since", "expected"),
    [
        (49, 0, 1e6, False),  # nothing worth a look
        (50, 0, 10, True),  # nobody waits
        (50, 1, 899, False),  # a stream would
        (50, 1, 900, True),  # one always does
    ],
)
def test_a_long_look_waits_for_a_quiet_moment(looks: int, flowing: int, since: float, *, expected: bool) -> None:
    assert due(looks, flowing, since) is expected


def test_only_short_looks_are_automatic_inside() -> None:
    before = gc.get_threshold()
    with seldom():
        full = gc.get_stats()[2]["collections"]
        kept = [[number] for number in range(200_000)]
        assert gc.get_stats()[2]["collections"] == full
        assert gc.get_stats()[0]["collections"] > 0
        assert gc.get_freeze_count() > 0
    assert len(kept) == 200_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


async def test_cycles_that_grew_old_are_freed_when_nothing_flows(autojump_clock: trio.testing.MockClock) -> None:
    streams = 1
    with seldom():
        knot = Knot()
        gc.collect(1)  # it is old now: no short look will meet it again
        gone = weakref.ref(knot)
        del knot
        kept = [[number] for number in range(300_000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, lambda: streams)
            await trio.sleep(60)
            assert gone() is not None
            streams = 0
            await trio.sleep(30)
            assert gone() is None
            nursery.cancel_scope.cancel()
    assert len(kept) == 300_000
