import pytest
import trio
from trio.testing import MockClock

from appliance.errors import UpstreamTimeout
from appliance.upstream.deadlines import Countdown, Deadlines, Stage


@pytest.mark.parametrize("stage", ["connect", "first_byte", "between_bytes"])
async def test_each_stage_has_its_own_deadline(autojump_clock: MockClock, stage: Stage) -> None:
    countdown = Countdown(Deadlines(connect=1, first_byte=2, between_bytes=3))
    start = trio.current_time()
    with pytest.raises(UpstreamTimeout) as caught, countdown.within(stage):
        await trio.sleep_forever()
    assert (caught.value.stage, caught.value.seconds) == (stage, trio.current_time() - start)


async def test_the_total_runs_across_stages_and_wins_when_it_is_nearer(autojump_clock: MockClock) -> None:
    countdown = Countdown(Deadlines(between_bytes=4, total=10))
    for _ in range(3):
        with countdown.within("between_bytes"):
            await trio.sleep(3)
    with pytest.raises(UpstreamTimeout) as caught, countdown.within("between_bytes"):
        await trio.sleep(3)
    assert (caught.value.stage, caught.value.seconds) == ("total", 10)


async def test_zero_is_off(autojump_clock: MockClock) -> None:
    with Countdown(Deadlines()).within("first_byte"):
        await trio.sleep(80_000)


async def test_a_moment_can_be_asked_for_instead_of_a_scope(autojump_clock: MockClock) -> None:
    countdown = Countdown(Deadlines(first_byte=4, total=10))
    start = countdown.start
    assert (countdown.deadline("first_byte"), countdown.deadline("between_bytes")) == (start + 4, start + 10)
    assert countdown.passed("first_byte", start + 4).stage == "first_byte"
    await trio.sleep(8)
    assert countdown.passed("first_byte", countdown.deadline("first_byte")).stage == "total"
    assert Countdown(Deadlines()).deadline("total") == float("inf")
