import itertools

from appliance.console.sessions import IDLE, LINK_LASTS, LONGEST, MOST_LINKS, MOST_SESSIONS, Session, Sessions


def sessions() -> Sessions:
    numbers = itertools.count(1)
    return Sessions(lambda: f"token-{next(numbers)}")


def test_a_session_is_found_by_its_token_until_it_is_ended() -> None:
    table = sessions()
    token = table.begin("root", b"digest", 0)
    found = table.find(token, 1)
    assert found is not None
    assert (found.name, found.key, found.seen) == ("root", b"digest", 1)
    assert found.csrf not in {"", token}
    assert table.find("another", 1) is None
    table.end(token)
    assert table.find(token, 1) is None


def test_a_session_ends_when_it_is_idle_and_in_any_case_some_day() -> None:
    table = sessions()
    idle, busy = table.begin("a", None, 0), table.begin("b", None, 0)
    now = 0.0
    while now < LONGEST - IDLE / 2:
        assert table.find(busy, now) is not None
        now += IDLE / 2
    assert table.find(idle, now) is None
    assert table.find(busy, LONGEST) is None


def test_there_are_never_too_many_and_the_most_idle_one_goes() -> None:
    table = sessions()
    tokens = [table.begin("a", None, number) for number in range(MOST_SESSIONS)]
    table.find(tokens[0], MOST_SESSIONS)
    table.begin("b", None, MOST_SESSIONS + 1)
    assert table.find(tokens[0], MOST_SESSIONS + 1) is not None
    assert table.find(tokens[1], MOST_SESSIONS + 1) is None


def test_a_link_works_once_and_soon() -> None:
    table = sessions()
    code = table.new_link("ops.sock", 0)
    assert table.use_link(code, LINK_LASTS - 1) == "ops.sock"
    assert table.use_link(code, LINK_LASTS - 1) is None
    late = table.new_link("ops.sock", 0)
    assert table.use_link(late, LINK_LASTS) is None
    assert table.use_link("made up", 0) is None


def test_the_oldest_of_too_many_links_is_void() -> None:
    table = sessions()
    codes = [table.new_link("x", 0) for _ in range(MOST_LINKS + 1)]
    assert table.use_link(codes[0], 1) is None
    assert table.use_link(codes[1], 1) == "x"


def test_what_is_to_be_said_is_said_once() -> None:
    session = Session("a", None, "csrf", 10, 0)
    session.say("one", ok=True)
    session.say("two", ok=False)
    assert session.told() == [("one", True), ("two", False)]
    assert session.told() == []
