import dataclasses

import pytest

from appliance.domain.orders import Change, Explanation, Outcome


def test_orders_answer_with_values_that_nobody_changes() -> None:
    for value in (Outcome(ok=True, changed=False, state="ready"), Explanation("m", ("prog",)), Change("m", "keep")):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(value, dataclasses.fields(value)[0].name, "x")


def test_what_is_not_known_about_a_launch_is_empty() -> None:
    plain = Explanation("m", ("prog",))
    assert (plain.gpus, plain.memory, plain.memory_from, plain.notes) == ((), 0, "unknown", ())
