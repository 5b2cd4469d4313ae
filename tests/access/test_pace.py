from hypothesis import given
from hypothesis import strategies as st

from appliance.access.pace import BURST, LONGEST, Pace


def test_a_few_are_told_at_once_and_then_one_a_second() -> None:
    pace = Pace()
    assert [pace.wait("10.0.0.1", 0.0) for _ in range(BURST)] == [0.0] * BURST
    assert [pace.wait("10.0.0.1", 0.0) for _ in range(4)] == [1.0, 2.0, LONGEST, LONGEST]
    assert pace.wait("10.0.0.2", 0.0) == 0.0


def test_who_is_quiet_for_a_while_is_forgiven() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.wait("10.0.0.1", 0.0)
    assert pace.wait("10.0.0.1", BURST + LONGEST) == 0.0
    assert [pace.wait("10.0.0.1", 100.0) for _ in range(BURST)] == [0.0] * BURST


def test_all_addresses_of_one_ipv6_network_are_one() -> None:
    pace = Pace()
    for number in range(BURST):
        assert pace.wait(f"2001:db8::{number:x}", 0.0) == 0.0
    assert pace.wait("2001:db8::ffff", 0.0) == 1.0
    assert pace.wait("2001:db8:0:1::1", 0.0) == 0.0
    assert pace.wait("::ffff:10.0.0.1", 0.0) == pace.wait("::ffff:10.0.0.2", 0.0) == 0.0


def test_a_flood_of_addresses_has_bounded_memory_and_strangers_wait() -> None:
    pace = Pace(room=100)
    waits = [pace.wait(f"10.1.{number >> 8}.{number & 255}", 0.0) for number in range(10_000)]
    assert pace.remembered == 100
    assert waits == [0.0] * 100 + [LONGEST] * 9_900
    assert pace.wait("10.9.9.9", 2.0) == 0.0, "those before are forgotten"
    assert pace.remembered == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=60))
def test_nobody_waits_long_and_no_address_is_told_more_often_than_its_burst_and_one_a_second(
    asked: list[tuple[str, float]],
) -> None:
    """As far as nobody is capped: the answer to a refusal comes after its wait."""
    pace, now = Pace(), 0.0
    told: dict[str, list[float]] = {}
    for address, passed in asked:
        now += passed
        wait = pace.wait(address, now)
        assert 0 <= wait <= LONGEST
        if wait < LONGEST:
            told.setdefault(address, []).append(now + wait)
    for times in told.values():
        for place, first in enumerate(times):
            for count, last in enumerate(times[place:], 1):
                assert count <= BURST + (last - first) + 1e-6 + 1
