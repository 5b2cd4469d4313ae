import pytest
import trio

from appliance.console.errands import Errands
from appliance.console.pages import Asked, Done
from appliance.console.sessions import Session
from appliance.errors import GatewayError
from tests.console.test_entry import REQUEST


def asked() -> Asked:
    return Asked(REQUEST, Session("root", None, "csrf", 1e9, 0))


async def test_a_quick_errand_is_answered_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    errands, person = Errands(), asked()
    await nursery.start(errands.run)

    async def errand() -> Done:
        await trio.sleep(0.5)
        return Done("done")

    assert await errands.send(person, "Load m", errand) == Done("done")
    assert person.session.told() == []


async def test_a_long_one_goes_on_and_is_told_on_the_next_page(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    errands, person = Errands(), asked()
    await nursery.start(errands.run)

    async def errand() -> Done:
        await trio.sleep(100)
        return Done("m is loaded.")

    assert await errands.send(person, "Load m", errand) == Done("Load m: under way.")
    await trio.sleep(100)
    assert person.session.told() == [("m is loaded.", True)]


async def test_a_refusal_is_told_and_ends_nothing_else(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    errands, person = Errands(), asked()
    await nursery.start(errands.run)

    async def errand() -> Done:
        raise GatewayError("model_not_found", "There is no m.")

    for _ in range(2):
        assert await errands.send(person, "Load m", errand) == Done("There is no m.", ok=False)


async def test_there_are_never_too_many(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    errands, person = Errands(), asked()

    async def errand() -> Done:
        await trio.sleep(1000)
        return Done("")

    with pytest.raises(GatewayError, match="already"):
        await errands.send(person, "Load m", errand)
    await nursery.start(errands.run)
    for _ in range(16):
        await errands.send(person, "Load m", errand)
    with pytest.raises(GatewayError, match="already"):
        await errands.send(person, "Load m", errand)
    nursery.cancel_scope.cancel()
