from hypothesis import given
from hypothesis import strategies as st

from appliance.breakers.suspects import BANNED, SUSPECTED, Opinion, Suspects

CLEAR, SUSPECT, BAN = Opinion.CLEAR, Opinion.SUSPECT, Opinion.BANNED


def broke(suspects: Suspects, content: bytes, now: float = 0.0, began: float = 0.0, *, alone: bool = False) -> None:
    suspects.broke("m", "m", content, began, now, alone=alone)


def crash(suspects: Suspects, *contents: bytes, now: float = 0.0, alone: bool = False) -> None:
    for content in contents:
        broke(suspects, content, now, now - 1, alone=alone)
    suspects.crashed("m", now)


def test_without_a_crash_nobody_is_a_suspect() -> None:
    suspects = Suspects()
    broke(suspects, b"a")
    assert not suspects.any
    suspects.crashed("another", 0)
    suspects.crashed("m", 10)  # much later: that was not it
    assert suspects.opinion("m", b"a", 10) is CLEAR


def test_whoever_was_inside_is_a_suspect_for_ten_minutes_whatever_is_seen_first() -> None:
    suspects = Suspects()
    broke(suspects, b"before", 99)
    assert suspects.crashed("m", 100) == [b"before"]
    broke(suspects, b"after", 101, began=90)
    for content in (b"before", b"after"):
        assert suspects.opinion("m", content, 100) is SUSPECT
        assert suspects.opinion("other", content, 100) is CLEAR
    assert suspects.opinion("m", b"before", 100 + SUSPECTED) is CLEAR
    assert suspects.opinion("m", b"after", 101 + SUSPECTED) is CLEAR
    assert not suspects.any


def test_a_crash_from_before_it_began_is_not_its_own() -> None:
    suspects = Suspects()
    suspects.crashed("m", 10)
    broke(suspects, b"a", 11, began=10.5)
    assert suspects.opinion("m", b"a", 11) is CLEAR


def test_suspects_are_let_in_one_at_a_time() -> None:
    suspects = Suspects()
    crash(suspects, b"a", b"b")
    assert suspects.begin("m", b"a", 1)
    assert not suspects.begin("m", b"b", 1)
    suspects.end("m", b"a", well=False)
    assert suspects.begin("m", b"b", 1)


def test_who_ends_well_is_no_suspect_any_more_and_who_does_not_stays_one() -> None:
    suspects = Suspects()
    crash(suspects, b"a", b"b")
    for content, well in ((b"a", True), (b"b", False)):
        suspects.begin("m", content, 1)
        suspects.end("m", content, well=well)
    assert (suspects.opinion("m", b"a", 1), suspects.opinion("m", b"b", 1)) == (CLEAR, SUSPECT)


def test_only_the_sole_suspect_inside_at_a_second_crash_is_banned() -> None:
    suspects = Suspects()
    crash(suspects, b"poison", b"bystander")
    suspects.begin("m", b"poison", 19)
    broke(suspects, b"poison", 20, began=19, alone=True)
    broke(suspects, b"new", 20, began=19)
    suspects.end("m", b"poison", well=False)
    suspects.crashed("m", 20)
    opinions = [suspects.opinion("m", content, 20) for content in (b"poison", b"bystander", b"new")]
    assert opinions == [BAN, SUSPECT, SUSPECT]
    assert suspects.count(20) == (2, 1)
    assert suspects.count(20 + BANNED) == (0, 0)
    suspects.end("m", b"poison", well=True)  # another copy of it, elsewhere
    assert suspects.opinion("m", b"poison", 20) is BAN
    assert suspects.opinion("m", b"poison", 20 + BANNED) is CLEAR


def test_after_a_suspect_that_broke_off_nobody_is_let_in_until_its_crash_is_seen() -> None:
    """Each who came meanwhile would meet the dead engine, alone, and be refused for it."""
    suspects = Suspects()
    crash(suspects, b"poison", b"bystander")
    suspects.begin("m", b"poison", 20)
    broke(suspects, b"poison", 21, began=20, alone=True)
    suspects.broke_alone("m", "m", 20, 21)
    suspects.end("m", b"poison", well=False)
    assert (suspects.doubt("m", 22), suspects.doubt("other", 22)) == (4, 0)
    assert not suspects.begin("m", b"bystander", 22)
    suspects.crashed("m-2", 22)  # another replica's is not the one
    assert not suspects.begin("m", b"bystander", 22)
    suspects.crashed("m", 23)
    assert suspects.begin("m", b"bystander", 23)


def test_where_no_crash_follows_or_it_was_seen_first_the_next_is_let_in() -> None:
    suspects = Suspects()
    crash(suspects, b"a", b"b")
    suspects.broke_alone("m", "m", 20, 21)
    assert not suspects.begin("m", b"b", 25.9)
    assert suspects.begin("m", b"b", 26)
    suspects.end("m", b"b", well=False)
    suspects.crashed("m", 40)
    suspects.broke_alone("m", "m", 39, 41)
    assert suspects.begin("m", b"b", 41)


def test_many_copies_in_one_crash_are_one_suspect() -> None:
    suspects = Suspects()
    crash(suspects, b"a", b"a", b"a")
    assert suspects.opinion("m", b"a", 0) is SUSPECT


def test_the_table_is_bounded() -> None:
    suspects = Suspects()
    suspects.crashed("m", 0)
    for number in range(5000):
        broke(suspects, str(number).encode(), 1)
        broke(suspects, str(number).encode(), 100)
    assert len(suspects._known) == 1024
    assert len(suspects._broken) == 256


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=80))
def test_a_request_that_never_was_alone_inside_at_a_crash_is_never_banned(steps: list[tuple[str, bool]]) -> None:
    """Let in one at a time, with "a" as the poison that crashes at each try: only it can be banned."""
    suspects, now = Suspects(), 0.0
    for name, together in steps:
        now += 1
        inside = {name.encode(), b"e"} if together else {name.encode()}
        let_in: dict[bytes, bool] = {}
        for content in inside:
            opinion = suspects.opinion("m", content, now)
            if opinion is CLEAR or (opinion is SUSPECT and suspects.begin("m", content, now)):
                let_in[content] = opinion is SUSPECT
        now += 1
        crashes = b"a" in let_in
        for content, alone in let_in.items():
            if crashes:
                broke(suspects, content, now, now - 1, alone=alone)
            if alone:
                suspects.end("m", content, well=not crashes)
        if crashes:
            suspects.crashed("m", now)
        banned = {content for _, content in suspects._known if suspects.opinion("m", content, now) is BAN}
        # "e" may be the one suspect beside a poison that nobody suspects yet; the rest never is.
        assert banned <= {b"a", b"e"}
        assert suspects.trials == {}


def test_another_process_goes_on_with_who_is_known() -> None:
    old, new = Suspects(), Suspects()
    for now in (10.0, 20.0):
        old.broke("m", "m", b"bad", now - 1, now, alone=True)
        old.crashed("m", now)
    old.broke("m", "m", b"near", 29.0, 30.0, alone=False)
    old.crashed("m", 30.0)
    new.take_over(old.known())
    assert new.opinion("m", b"bad", 31.0) is Opinion.BANNED
    assert new.opinion("m", b"near", 31.0) is Opinion.SUSPECT
    assert new.known() == old.known()
