import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.status import ReplicaState
from appliance.supervisor.states import TRANSITIONS, move

STATES = st.sampled_from(list(ReplicaState))


def test_every_state_has_an_exit_and_an_entry() -> None:
    assert set(TRANSITIONS) == set(ReplicaState)
    assert all(TRANSITIONS.values())
    assert set().union(*TRANSITIONS.values()) == set(ReplicaState)


@given(STATES, STATES)
def test_only_transitions_of_the_table_are_possible(state: ReplicaState, to: ReplicaState) -> None:
    if to in TRANSITIONS[state]:
        assert move(state, to) is to
    else:
        with pytest.raises(ValueError, match=f"from {state} to {to}"):
            move(state, to)


@given(STATES)
def test_stopped_can_be_reached_from_everywhere(state: ReplicaState) -> None:
    reached = {state}
    for _ in ReplicaState:
        reached |= set().union(*(TRANSITIONS[known] for known in reached))
    assert ReplicaState.STOPPED in reached
