import msgspec
import pytest

from appliance.config.schema import Runtime
from appliance.config.units import Seconds, Size
from appliance.supervisor.changes import LIVE, changes

A = Runtime(name="a", engine="command", command=("a",))
B = Runtime(name="b", engine="command", command=("b",), memory=Size(2**30))


def test_what_is_the_same_is_not_touched() -> None:
    assert [(change.runtime, change.action) for change in changes([A, B], [B, A])] == [("a", "keep"), ("b", "keep")]


def test_what_goes_comes_first_and_makes_room() -> None:
    made = changes([A], [B])
    assert [(change.runtime, change.action) for change in made] == [("a", "remove"), ("b", "add")]
    assert "1.0 GiB" in made[1].detail


def test_a_setting_that_is_part_of_the_launch_needs_a_new_process() -> None:
    (change,) = changes([A], [msgspec.structs.replace(A, command=("a", "--fast"), priority=3)])
    assert (change.action, change.settings) == ("restart", ("command", "priority"))


@pytest.mark.parametrize("name", sorted(LIVE))
def test_a_setting_that_is_looked_at_while_it_runs_needs_none(name: str) -> None:
    value: object = {"start": "on-demand", "exclusive": "x", "pinned": True, "preload": True, "canary": True}.get(
        name, 7 if name == "priority" else Seconds(7)
    )
    (change,) = changes([A], [msgspec.structs.replace(A, **{name: value})])
    assert (change.action, change.settings) == ("update", (name,))


def test_the_live_settings_exist() -> None:
    assert {field.name for field in msgspec.structs.fields(Runtime)} >= LIVE
