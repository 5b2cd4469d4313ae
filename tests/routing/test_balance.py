import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.routing.balance import choose

NAMES = ["m@1", "m@2", "m@3", "m@4"]
keys = st.binary(min_size=1, max_size=16)


def prefix(affinity: bytes, loads: dict[str, int]) -> str:
    return choose(affinity, loads)[0]


def test_the_fewest_exchanges_win_and_ties_go_by_name() -> None:
    assert choose(b"", {"b": 1, "a": 2, "c": 1}) == ("b", "least-busy")


@given(keys)
def test_a_conversation_stays_where_it_was(affinity: bytes) -> None:
    idle = dict.fromkeys(NAMES, 0)
    assert prefix(affinity, idle) == prefix(affinity, dict(reversed(idle.items())))


@given(keys, st.sampled_from(NAMES))
def test_a_replica_that_leaves_takes_only_its_own_along(affinity: bytes, leaves: str) -> None:
    home = prefix(affinity, dict.fromkeys(NAMES, 0))
    rest = prefix(affinity, {name: 0 for name in NAMES if name != leaves})
    assert home in (rest, leaves)


@given(keys, st.lists(st.integers(0, 50), min_size=4, max_size=4))
def test_nobody_gets_more_than_the_bound(affinity: bytes, loads: list[int]) -> None:
    chosen = prefix(affinity, dict(zip(NAMES, loads, strict=True)))
    assert loads[NAMES.index(chosen)] < 1.25 * (sum(loads) + 1) / 4 + 1


def test_conversations_spread_evenly() -> None:
    idle = dict.fromkeys(NAMES, 0)
    counts = dict.fromkeys(NAMES, 0)
    for number in range(4000):
        counts[prefix(str(number).encode(), idle)] += 1
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


@pytest.mark.parametrize("affinity", [b"", b"x"])
def test_a_single_replica_gets_everything(affinity: bytes) -> None:
    assert choose(affinity, {"m": 900}) == ("m", "only")


@given(keys)
def test_too_much_work_overflows_to_the_next_likely_one(affinity: bytes) -> None:
    home, how = choose(affinity, {"a": 0, "b": 0})
    (other,) = {"a", "b"} - {home}
    assert how == "prefix"
    assert choose(affinity, {home: 1, other: 0}) == (home, "prefix")
    assert choose(affinity, {home: 2, other: 0}) == (other, "overflow")
