import logging

import pytest
import trio

from appliance.console.errands import Errands
from appliance.console.orders import canceller, orders_of
from appliance.console.pages import Asked, Done
from appliance.domain.orders import Outcome
from appliance.errors import GatewayError
from appliance.ops.gate import Gate
from appliance.ops.orders import OrderRoutes
from appliance.ops.requests import RequestRoutes
from tests.console.test_errands import asked
from tests.fakes.journal import journal


class Supervisor:
    """Knows one model, which cannot be loaded."""

    async def load(self, name: str) -> Outcome:
        await trio.lowlevel.checkpoint()
        if name != "m":
            raise GatewayError("model_not_found", f"There is no {name}.")
        return Outcome(ok=False, changed=True, state="quarantined", detail="The file is not there.")

    async def unload(self, name: str) -> Outcome:
        await trio.lowlevel.checkpoint()
        return Outcome(ok=True, changed=True, state="stopped")

    restart = drain = unload


async def give(nursery: trio.Nursery, order: str, **form: str) -> Done:
    errands, person = Errands(), asked()
    await nursery.start(errands.run)
    routes = OrderRoutes(Gate(None, journal()), Supervisor())  # type: ignore[arg-type]
    done = await orders_of(routes, errands)[order](Asked(person.request, person.session, form=form))
    assert isinstance(done, Done)
    return done


async def test_what_became_of_an_order_is_said_and_audited(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "appliance.audit")
    assert await give(nursery, "unload", name="m") == Done("m is unloaded.")
    assert await give(nursery, "load", name="m") == Done("m is quarantined. The file is not there.", ok=False)
    assert await give(nursery, "load", name="x") == Done("There is no x.", ok=False)
    fields = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert [(row["action"], row["target"], row["by"], row["ok"]) for row in fields] == [
        ("unload", "m", "root", True),
        ("load", "m", "root", False),
        ("load", "x", "root", False),
    ]


async def test_an_order_names_something(nursery: trio.Nursery) -> None:
    with pytest.raises(GatewayError, match="names no model"):
        await give(nursery, "drain")


async def test_a_request_that_has_ended_is_told_so() -> None:
    person = asked()
    with pytest.raises(GatewayError, match="ended by itself"):
        await canceller(RequestRoutes(Gate(None, journal()), {}))(
            Asked(person.request, person.session, form={"id": "x"})
        )
