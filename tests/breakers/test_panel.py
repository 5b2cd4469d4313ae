from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.breakers.breaker import State
from appliance.breakers.panel import Panel
from appliance.breakers.verdict import Verdict
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint, Lease, Target
from appliance.errors import GatewayError

BOX = Endpoint(Address("http", "box", 8000))
A = Target("a/x", "backend", "a", "openai", "x", BOX)
B = Target("b/x", "backend", "b", "openai", "x", BOX)
M = Target("m", "runtime", "m", "llama.cpp", "m")
GOOD, BAD, NOTHING = Verdict.GOOD, Verdict.BAD, Verdict.NOTHING


def panel(*broken: Target) -> Panel:
    made = Panel(5)
    for target in broken:
        fail(made, target)
    return made


def fail(on: Panel, target: Target, now: float = 0.0, times: int = 5) -> None:
    for _ in range(times):
        on.ended(target, BAD, now, now, "no connection")


def row(state: ReplicaState, replica: str = "m", at: Endpoint | None = None) -> ReplicaStatus:
    return ReplicaStatus("m", replica, "llama.cpp", state, since=0.0, endpoint=at)


READY, BACKOFF = ReplicaState.READY, ReplicaState.BACKOFF
ONE, TWO, NEXT = (Endpoint(Address("unix", f"/run/{name}")) for name in ("one", "two", "next"))


def breaks(on: Panel, replica: str, at: Endpoint, now: float, times: int = 5) -> None:
    for _ in range(times):
        on.ended(M, BAD, now, now, "it broke off", lease=Lease(at, replica), broke=True)


def pair() -> Panel:
    """Two replicas that are ready."""
    on = Panel(5)
    on.replica_changed(None, row(READY, "m-1", ONE))
    on.replica_changed(None, row(READY, "m-2", TWO))
    return on


def test_what_a_crash_breaks_does_not_count_against_the_other_replica_seen_before_or_after() -> None:
    on = pair()
    breaks(on, "m-1", ONE, 10)
    assert on.order("m", [M], 0, 11.9) == [M]
    on.replica_changed(row(READY, "m-1", ONE), row(BACKOFF, "m-1"))
    breaks(on, "m-1", ONE, 12)
    assert on.order("m", [M], 0, 20) == [M]
    assert on.empty


def test_what_a_crash_breaks_does_not_count_against_the_next_life_however_late_it_is_seen() -> None:
    on = pair()
    on.replica_changed(row(READY, "m-1", ONE), row(BACKOFF, "m-1"))
    on.replica_changed(row(ReplicaState.LOADING, "m-1"), row(READY, "m-1", NEXT))
    breaks(on, "m-1", ONE, 100)  # clients that read slowly
    assert on.empty


def test_where_the_process_lives_on_what_broke_off_counts_a_moment_later_in_its_order() -> None:
    on = pair()
    opened: list[str] = []
    on.opens = opened.append
    breaks(on, "m-1", ONE, 10, 4)
    on.ended(M, GOOD, 10, 10.5)
    breaks(on, "m-1", ONE, 11, 4)
    assert on.order("m", [M], 0, 13) == [M]  # the good one came in between
    breaks(on, "m-1", ONE, 14, 1)
    assert not opened
    with pytest.raises(GatewayError, match="circuit breaker open"):
        on.order("m", [M], 0, 16)
    assert (on.tripped, on.unsure, opened) == ({"m"}, {}, ["m"])
    on.replica_changed(row(READY, "m-1", ONE), row(BACKOFF, "m-1"))  # that explains it
    assert on.tripped == set()


def test_one_that_fails_to_start_does_not_speak_for_the_other_one() -> None:
    on = pair()
    on.replica_changed(row(READY, "m-1", ONE), row(BACKOFF, "m-1"))
    fail(on, M)
    assert on.tripped == {"m"}
    on.replica_changed(row(ReplicaState.LOADING, "m-1"), row(BACKOFF, "m-1"))
    assert on.tripped == {"m"}


def test_a_tripped_target_comes_last() -> None:
    on = panel(A)
    assert on.tripped == {"a/x"}
    assert on.order("both", [A, B], 0, 0) == [B, A]


def test_an_operator_sees_who_is_left_alone_and_why() -> None:
    on = panel(A)
    on.ended(B, BAD, 0, 0, "status 500")  # once is nothing yet
    expected = {"target": "a/x", "state": "open", "reason": "no connection", "failures": 5, "next_try": 3.5}
    assert on.report(1.5) == [expected]
    on.begin("a/x", 5)
    assert [row["state"] for row in on.report(5)] == ["half_open"]


def test_it_goes_first_again_when_it_is_time_for_a_probe() -> None:
    on = panel(A)
    assert on.order("both", [A, B], 0, 5) == [A, B]
    on.begin("a/x", 5)
    assert on.order("both", [A, B], 0, 5) == [B, A]
    on.ended(A, GOOD, 5, 6)
    assert (on.tripped, on.empty) == (set(), True)


def test_statistics_alone_never_take_away_the_last_of_several() -> None:
    on = panel(A, B)
    assert on.order("both", [A, B], 0, 0) == [A, B]
    assert on.order("both", [A], 1, 0) == [A]  # the other one is known to be down


def test_a_models_only_target_does_open() -> None:
    with pytest.raises(GatewayError, match="Provider circuit breaker open") as caught:
        panel(A).order("one", [A], 0, 1.5)
    error = caught.value
    assert (error.code, error.row.status, error.retry_after) == ("circuit_open", 503, 4)
    assert "5 times in a row (no connection)" in error.message


def test_what_says_nothing_changes_nothing() -> None:
    on = Panel(1)
    on.ended(A, NOTHING, 0, 0)
    on.ended(A, GOOD, 0, 0)
    assert on.empty


def test_the_supervisors_facts_win() -> None:
    on = Panel(5)
    on.replica_changed(None, row(ReplicaState.READY))
    fail(on, M)
    assert on.tripped == {"m"}
    on.replica_changed(row(ReplicaState.READY), row(ReplicaState.BACKOFF))  # it crashed: that explains everything
    assert on.tripped == set()
    fail(on, M)  # and what broke with it is seen late
    assert on.order("m", [M], 0, 0) == [M]
    on.replica_changed(row(ReplicaState.LOADING), row(ReplicaState.READY))
    fail(on, M, times=4)
    assert on.tripped == set()
    fail(on, M, times=1)
    assert on.tripped == {"m"}
    on.replica_changed(row(ReplicaState.READY), row(ReplicaState.READY))  # nothing new
    assert on.tripped == {"m"}


def test_states_are_told() -> None:
    told: list[tuple[str, State]] = []
    on = Panel(1, lambda name, state: told.append((name, state)))
    on.ended(A, BAD, 0, 0, "x")
    on.begin("a/x", 5)
    on.begin("unknown", 5)
    on.ended(A, BAD, 5, 6, "x")
    on.begin("a/x", 16)
    on.ended(A, GOOD, 16, 17)
    assert told == [
        ("a/x", state) for state in (State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED)
    ]


def names() -> Iterator[Target]:
    number = 0
    while True:
        number += 1
        yield Target(f"openai/made-up-{number}", "backend", "openai", "openai", "", BOX)


def test_names_that_clients_make_up_do_not_grow_it_without_bound() -> None:
    on = Panel(1)
    for _, target in zip(range(3000), names(), strict=False):
        on.ended(target, BAD, 0, 0, "x")
    assert len(on._breakers) == len(on.tripped) == 1024


def test_a_new_configuration_forgets_what_is_gone_and_counts_anew() -> None:
    on = panel(A, B)
    on.change(0, {"a"})
    assert on.tripped == {"a/x"}
    fail(on, B)
    assert on.tripped == {"a/x"}


def test_a_backend_with_the_name_of_a_runtime_that_was_removed_is_judged_as_a_backend() -> None:
    on = pair()
    for name in ("m-1", "m-2"):
        on.replica_changed(row(READY, name), row(ReplicaState.STOPPED, name))
    on.replica_dropped("m-1")
    fail(on, M)
    assert on.tripped == set()
    on.replica_dropped("m-2")
    on.replica_dropped("a")  # a backend
    fail(on, Target("m/x", "backend", "m", "openai", "x", BOX))
    assert on.tripped == {"m/x"}


@given(
    st.lists(st.floats(-1.9, 300), max_size=20),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([GOOD, BAD])), max_size=4),
    st.one_of(st.none(), st.floats(0.1, 200)),
)
def test_however_late_or_early_a_crash_is_seen_what_it_broke_opens_nothing(
    broken: list[float], other: list[tuple[float, Verdict]], again: float | None
) -> None:
    """Times are seconds from the moment in which the supervisor sees it; the other replica has ends of its own."""
    on = pair()
    events: list[tuple[float, int, Callable[[float], object]]] = [
        (at, 1, lambda now: breaks(on, "m-1", ONE, now, 1)) for at in broken
    ]
    for at, said in other:
        events.append((at, 1, lambda now, said=said: on.ended(M, said, now, now, "x", lease=Lease(TWO, "m-2"))))  # type: ignore[misc]
    events.append((0.0, 0, lambda _: on.replica_changed(row(READY, "m-1", ONE), row(BACKOFF, "m-1"))))
    if again is not None:
        events.append((again, 0, lambda _: on.replica_changed(row(BACKOFF, "m-1"), row(READY, "m-1", NEXT))))
    for at, _, happens in sorted(events, key=lambda event: event[:2]):
        happens(100 + at)
        assert on.order("m", [M], 0, 100 + at) == [M]
    assert on.tripped == set()
    assert on.order("m", [M], 0, 1000) == [M]
