import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Runtime, Server
from appliance.domain.status import ReplicaState
from appliance.supervisor import states
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


def rows() -> dict[str, str]:
    """The table of the module's own words: what is said of each state."""
    found: dict[str, str] = {}
    for line in (states.__doc__ or "").splitlines():
        if match := re.fullmatch(r"    ([a-z]+) +(?:yes|no|dying) +(.*)", line):
            found[match[1]] = match[2]
        elif found and line.startswith("     "):
            found[list(found)[-1]] += f" {line}"
    return found


def test_the_table_tells_of_every_state_how_long_it_lasts_and_how_it_ends() -> None:
    assert list(rows()) == [str(state) for state in TRANSITIONS]
    assert all(len(re.split(r"  +", row.strip())) >= 2 for row in rows().values())


def test_the_limits_that_the_table_names_are_settings() -> None:
    settings = {field.name for section in (Runtime, Server) for field in msgspec.structs.fields(section)}
    named = set(re.findall(r"`([a-z_]+)`", " ".join(rows().values())))
    assert {"load_stall", "load_limit", "drain", "make_room", "stop_grace"} <= named <= settings
