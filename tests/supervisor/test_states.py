import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import appliance
from appliance.config.schema import Runtime, Server
from appliance.domain.status import ReplicaState
from appliance.supervisor.states import LIFE, Keeper, move

S = ReplicaState
STATES = st.sampled_from(list(ReplicaState))


def test_every_state_has_an_exit_and_an_entry() -> None:
    assert set(LIFE) == set(ReplicaState)
    assert all(stay.exits for stay in LIFE.values())
    assert set().union(*(stay.exits for stay in LIFE.values())) == set(ReplicaState)


@given(STATES, STATES)
def test_only_transitions_of_the_table_are_possible(state: ReplicaState, to: ReplicaState) -> None:
    if to in LIFE[state].exits:
        assert move(state, to) is to
    else:
        with pytest.raises(ValueError, match=f"from {state} to {to}"):
            move(state, to)


@given(STATES)
def test_stopped_can_be_reached_from_everywhere(state: ReplicaState) -> None:
    reached = {state}
    for _ in ReplicaState:
        reached |= set().union(*(LIFE[known].exits for known in reached))
    assert ReplicaState.STOPPED in reached


def test_every_state_has_a_deadline_or_is_said_to_be_one_to_rest_in() -> None:
    for state, stay in LIFE.items():
        assert stay.lasts.startswith("rests until") is stay.rests, state
        if stay.keeper is Keeper.TASK:
            assert re.search(r"`[a-z_]+`|\d+ s", stay.lasts), f"{state} has no limit"


def test_nobody_rests_in_a_state_where_something_is_under_way() -> None:
    """What is stopped, ready or asleep is as it was wanted, or waits for room; everything else is on its way."""
    assert {state for state, stay in LIFE.items() if stay.rests} == {S.STOPPED, S.READY, S.SLEEPING}


def test_the_limits_that_the_table_names_are_settings() -> None:
    settings = {field.name for section in (Runtime, Server) for field in msgspec.structs.fields(section)}
    named = set(re.findall(r"`([a-z_]+)`", " ".join(stay.lasts for stay in LIFE.values())))
    limits = {"load_stall", "load_limit", "drain", "make_room", "stop_grace", "idle_stop", "dead_limit", "stall_limit"}
    assert limits <= named <= settings


def test_the_page_for_operators_has_the_same_table() -> None:
    page = (Path(appliance.__file__).parent / "docs" / "states.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    follow = {state: ", ".join(sorted(f"`{one}`" for one in stay.exits)) for state, stay in LIFE.items()}
    assert rows == [f"| `{s}` | {stay.process} | {stay.lasts} | {follow[s]} |" for s, stay in LIFE.items()]
