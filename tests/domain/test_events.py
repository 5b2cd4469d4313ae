import re
from pathlib import Path

import pytest

import appliance
from appliance.domain.events import KINDS, Event, Wanted, kinds_of

DOCS = Path(appliance.__file__).parent / "docs"


def test_the_table_of_kinds_in_the_documents_is_this_one() -> None:
    rows = re.findall(r"^\| `([a-z.]+\.[a-z]+)` \| (.+?) \| (.+?) \|$", (DOCS / "events.md").read_text(), re.MULTILINE)
    assert {kind: (subject, meaning) for kind, subject, meaning in rows} == {
        kind: (row.subject, row.meaning) for kind, row in KINDS.items()
    }


def test_an_event_as_programs_get_it() -> None:
    event = Event(1764114114120, 1764114114.12, "gpu.fault", "GPU 0", "It fell off the bus.", {"uuid": "x"})
    assert event.told() == {
        "id": 1764114114120,
        "time": "2025-11-25T23:41:54.120Z",
        "kind": "gpu.fault",
        "subject": "GPU 0",
        "words": "It fell off the bus.",
        "facts": {"uuid": "x"},
    }


@pytest.mark.parametrize("text", ["replica", "replica.*", "replica.state,replica.crashed, replica.removed"])
def test_kinds_are_chosen_by_name_or_by_group(text: str) -> None:
    assert kinds_of(text) == {"replica.state", "replica.crashed", "replica.removed"}


@pytest.mark.parametrize("text", ["replicas", "replica.states", "rep", "x" * 100])
def test_a_kind_that_there_is_not_is_told_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="server, replica, swap"):
        kinds_of(text)


def test_who_wants_what() -> None:
    event = Event(1, 1.0, "key.created", "ci", "It was made.")
    assert Wanted().has(event)
    assert Wanted(kinds_of("key"), "ci").has(event)
    assert not Wanted(kinds_of("gpu")).has(event)
    assert not Wanted(subject="other").has(event)
