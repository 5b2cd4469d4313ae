import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access.keys import KeyRing
from appliance.config.schema import Limits
from appliance.errors import GatewayError, OperatorError
from appliance.keystore.stored import (
    Former,
    Keys,
    NewKey,
    StoredKey,
    credentials,
    hash_of,
    made,
    require,
    revoked,
    rotated,
    with_new,
)

NOW = 1_800_000_000.0
DAY = 86_400
FULL = NewKey(
    name="ci",
    scopes=("infer", "metrics"),
    models=("a-*",),
    limits=Limits(requests_per_minute=5, tokens_per_month=1000),
    expires="90d",
    tags=("team-x",),
    local_only=True,
)


def key(name: str, text: str, now: float = NOW, **more: object) -> StoredKey:
    return msgspec.structs.replace(made(NewKey(name=name), text, "", now), **more)


def opens(keys: Keys, text: str, now: float) -> str:
    """The name of who gets in with a text, or why nobody does."""
    ring = KeyRing((), date=lambda: now)
    ring.change((), (), credentials(keys))
    try:
        return ring.find([("x-api-key", text)]).name
    except GatewayError as error:
        return error.message.partition(".")[0]


def test_a_key_has_what_was_wanted_and_its_text_is_not_kept() -> None:
    new = made(FULL, "sk-abcdefgh", "sk-", NOW)
    assert new.hash == "sha256:" + hashlib.sha256(b"sk-abcdefgh").hexdigest()
    assert (new.start, new.created, new.expires) == ("sk-abcd", NOW, NOW + 90 * DAY)
    section = new.section
    assert (section.name, section.scopes, section.models) == ("ci", ("infer", "metrics"), ("a-*",))
    assert (section.limits, section.tags, section.local_only) == (FULL.limits, ("team-x",), True)
    assert "sk-abcdefgh" not in repr(new)
    assert msgspec.json.decode(msgspec.json.encode(new), type=StoredKey) == new


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (NewKey(name="a b"), "`name` holds a character"),
        (NewKey(name="env-1"), "is how the appliance calls a caller"),
        (NewKey(name="a", limits=Limits(concurrent=0)), "`limits.concurrent` must be more than 0"),
        (NewKey(name="a", expires="soon"), "neither a date such as 2027-01-31 nor a duration"),
        (NewKey(name="a", expires="2020-01-01"), "that is over"),
        (NewKey(name="a", expires="0s"), "that is over"),
        (NewKey(name="a", scopes=()), "would open nothing"),
        (NewKey(name="a", models=()), "would open nothing"),
    ],
)
def test_what_a_key_cannot_be(wanted: NewKey, words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        made(wanted, "sk-x", "sk-", NOW)


def test_a_name_is_taken_while_its_key_works_or_the_configuration_has_it() -> None:
    keys = with_new((), key("a", "1"), (), NOW)
    with pytest.raises(OperatorError, match="already"):
        with_new(keys, key("a", "2"), (), NOW)
    with pytest.raises(OperatorError, match="entry of the configuration"):
        with_new(keys, key("b", "2"), {"b"}, NOW)
    again = with_new(revoked(keys, "a", NOW), key("a", "2"), (), NOW)
    assert opens(again, "2", NOW) == "a"
    assert opens(again, "1", NOW) == "The key is not one of this server's"
    expired = (key("a", "1", expires=NOW),)
    assert with_new(expired, key("a", "2"), (), NOW) == (key("a", "2"),)


def test_a_rotated_key_has_a_new_text_and_the_old_one_works_for_its_grace() -> None:
    keys = rotated((key("a", "1"), key("b", "9")), "a", "2", 60, NOW + 5)
    assert opens(keys, "2", NOW + 5) == opens(keys, "1", NOW + 64.9) == "a"
    assert opens(keys, "1", NOW + 65) == "This key was replaced by a new one"
    assert opens(keys, "9", NOW) == "b"
    twice = rotated(keys, "a", "3", 0, NOW + 6)
    assert opens(twice, "1", NOW + 6) == opens(twice, "3", NOW + 6) == "a"
    assert opens(twice, "2", NOW + 6) == "This key was replaced by a new one"


def test_a_revoked_key_ends_with_all_its_texts() -> None:
    keys = revoked(rotated((key("a", "1"),), "a", "2", 10**6, NOW), "a", NOW + 1)
    assert opens(keys, "2", NOW + 1) == "This key was revoked"
    assert opens(keys, "1", NOW + 1) == "This key was replaced by a new one"
    assert opens(keys, "2", NOW + 0.5) == "a"
    assert revoked(keys, "a", NOW + 100) == keys


def test_an_expired_key_ends_with_all_its_texts() -> None:
    keys = (key("a", "2", expires=NOW + 9, former=(Former(hash_of("1"), NOW + 99),)),)
    assert opens(keys, "1", NOW + 8) == opens(keys, "2", NOW + 8) == "a"
    assert opens(keys, "2", NOW + 9) == "This key has expired"
    assert opens(keys, "1", NOW + 9) == "This key was replaced by a new one"


@pytest.mark.parametrize("ended", [{"revoked": NOW}, {"expires": NOW}])
def test_what_has_ended_is_not_rotated(ended: dict[str, float]) -> None:
    with pytest.raises(OperatorError, match="make a new one"):
        rotated((key("a", "1", **ended),), "a", "2", 0, NOW)


def test_old_texts_are_forgotten_in_the_end() -> None:
    keys: Keys = (key("a", "0"),)
    for number in range(1, 50):
        keys = rotated(keys, "a", str(number), 0, NOW + number)
    assert len(keys[0].former) == 10
    late = rotated(keys, "a", "late", 0, NOW + 100 * DAY)
    assert [former.hash for former in late[0].former] == [hash_of("49")]


def test_a_key_of_the_configuration_is_told_apart_from_one_that_there_is_not() -> None:
    with pytest.raises(OperatorError, match=r"edit the file.*appliance reload"):
        require((), "a", {"a"})
    with pytest.raises(OperatorError, match="there is no key"):
        require((key("b", "1"),), "a", ())


@given(st.lists(st.tuples(st.sampled_from("cree"), st.sampled_from("ab"), st.integers(0, 50)), max_size=25))
def test_only_what_was_not_ended_opens_whatever_was_done(steps: list[tuple[str, str, int]]) -> None:
    """Beside a plain table of every text ever made and when it ends."""
    keys: Keys = ()
    ends: dict[str, tuple[str, float]] = {}
    now, last = NOW, dict[str, str]()
    for number, (step, name, seconds) in enumerate(steps):
        now += 10
        text = f"t{number}"
        try:
            if step == "c":
                keys = with_new(keys, key(name, text, now), (), now)
                ends = {one: kept for one, kept in ends.items() if kept[0] != name} | {text: (name, float("inf"))}
            elif step == "r":
                require(keys, name, ())
                keys = rotated(keys, name, text, seconds, now)
                ends[last[name]] = (name, now + seconds)
                ends[text] = (name, float("inf"))
            else:
                require(keys, name, ())
                keys = revoked(keys, name, now)
                ends = {one: (who, min(end, now) if who == name else end) for one, (who, end) in ends.items()}
                continue
        except OperatorError:
            continue
        last[name] = text
    for text, (name, end) in ends.items():
        assert (opens(keys, text, now + 5) == name) == (now + 5 < end)
