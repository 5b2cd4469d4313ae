"""Two processes, each knowing only what it has said and heard, and either may die at any moment."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.limits.handing import Change
from appliance.takeover.messages import (
    Busy,
    Bye,
    Changed,
    Client,
    Commit,
    Hello,
    Message,
    Offer,
    Ready,
    Refusal,
    Serving,
    Yours,
)
from appliance.takeover.talk import OutOfTurn, Phase, Side, follow, goes_on, serves

STORY: list[tuple[Side, Message]] = [
    ("new", Hello(1, "1", 2)),
    ("old", Offer(1, "l", "s", [], [], [])),
    ("new", Ready()),
    ("old", Commit([], [])),
    ("new", Serving()),
    ("old", Yours()),
    ("old", Bye()),
]
USED = Changed(Change("key", "a", "ended", 1, 1, 1))


def test_the_story_passes_every_phase_in_order() -> None:
    phases = [Phase.BEGUN]
    for speaker, message in STORY:
        phases.append(follow(phases[-1], speaker, message))
    assert phases == [phase for phase in Phase if phase is not Phase.REFUSED]


@pytest.mark.parametrize("phase", list(Phase))
def test_either_may_refuse_until_it_is_taken_and_nobody_afterwards(phase: Phase) -> None:
    for side in ("old", "new"):
        if phase < Phase.TAKEN:
            assert follow(phase, side, Refusal("no")) is Phase.REFUSED
        else:
            with pytest.raises(OutOfTurn):
                follow(phase, side, Refusal("no"))


def test_what_the_old_one_still_does_is_told_only_when_it_counts() -> None:
    assert follow(Phase.COMMITTED, "old", USED) is Phase.COMMITTED
    assert follow(Phase.OURS, "old", Client("a", operator=False)) is Phase.OURS
    assert follow(Phase.OURS, "old", Busy({})) is Phase.OURS
    for early in (Phase.BEGUN, Phase.AGREED):
        with pytest.raises(OutOfTurn):
            follow(early, "old", USED)
    with pytest.raises(OutOfTurn):
        follow(Phase.TAKEN, "old", Client("a", operator=False))


def test_nobody_speaks_for_the_other() -> None:
    for phase, (speaker, message) in zip(Phase, STORY, strict=False):
        other: Side = "old" if speaker == "new" else "new"
        with pytest.raises(OutOfTurn):
            follow(phase, other, message)


@given(steps=st.lists(st.sampled_from(["say", "old hears", "new hears", "used"])), managed=st.booleans())
def test_whoever_dies_whenever_the_other_knows_what_to_do(steps: list[str], managed: bool) -> None:
    phase: dict[Side, Phase] = {"old": Phase.BEGUN, "new": Phase.BEGUN}
    on_the_way: dict[Side, deque[tuple[Side, Message]]] = {"old": deque(), "new": deque()}
    story = deque(STORY)

    def say(speaker: Side, message: Message) -> None:
        phase[speaker] = follow(phase[speaker], speaker, message)
        on_the_way["old" if speaker == "new" else "new"].append((speaker, message))

    def hear(side: Side) -> None:
        if on_the_way[side]:
            phase[side] = follow(phase[side], *on_the_way[side].popleft())

    for step in steps:
        if step == "say" and story and phase[story[0][0]] == len(STORY) - len(story):
            say(*story.popleft())
        elif step == "used" and Phase.COMMITTED <= phase["old"] <= Phase.OURS:
            say("old", USED)
        elif step.endswith("hears"):
            hear("old" if step == "old hears" else "new")
        # Only the new one can be ahead: it serves, and the old one has not heard of it yet. It accepts nothing then.
        assert serves("old", phase["old"]) or serves("new", phase["new"])
        if serves("old", phase["old"]) and serves("new", phase["new"]):
            assert phase["old"] is Phase.COMMITTED
        # The new one dies: the old one serves on exactly as long as it has not given the models away.
        assert goes_on("old", phase["old"], managed=managed) == (phase["old"] < Phase.TAKEN)
        # The old one dies: the new one serves on once it is known to whoever would start another one.
        known = phase["new"] >= Phase.OURS
        assert goes_on("new", phase["new"], managed=managed) == (known or (phase["new"] is Phase.TAKEN and not managed))
