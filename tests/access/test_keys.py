import hashlib

import msgspec
import pytest

from appliance.access.keys import Caller, Credential, KeyRing
from appliance.config.schema import Key
from appliance.config.units import Moment
from appliance.domain.http import Headers
from appliance.domain.secret import Secret
from appliance.errors import GatewayError


def key(name: str, text: str) -> Key:
    return Key(
        name=name,
        hash=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        scopes=("infer", "metrics"),
        models=("a-*",),
    )


NOW = 1_800_000_000.0


def ring_of(*keys: Key, environment: tuple[Secret, ...] = (), open: bool = False) -> KeyRing:  # noqa: A002 - as there
    return KeyRing(keys, environment, date=lambda: NOW, open=open)


RING = ring_of(key("team", "k-1"), key("ops", "k-2"), environment=(Secret("e-1"), Secret("e-2")))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([("authorization", "Bearer k-1")], "team"),
        ([("authorization", "bearer   k-2 ")], "ops"),
        ([("x-api-key", "k-2")], "ops"),
        ([("x-api-key", "e-2")], "env-2"),
        ([("authorization", "Bearer dummy"), ("x-api-key", "k-1")], "team"),
        ([("authorization", "Bearer k-1"), ("x-api-key", "dummy")], "team"),
    ],
)
def test_either_header_with_a_valid_key_is_enough(headers: Headers, name: str) -> None:
    assert RING.find(headers).name == name


def test_a_caller_has_what_its_key_grants() -> None:
    caller = RING.find([("x-api-key", "k-1")])
    assert caller.scopes == {"infer", "metrics"}
    assert caller.models == ("a-*",)
    from_environment = RING.find([("x-api-key", "e-1")])
    assert from_environment.scopes == {"infer"}
    assert from_environment.models == ("*",)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer ")],
        [("authorization", "k-1")],
        [("authorization", "Basic k-1")],
        [("x-api-key", "K-1")],
        [("x-api-key", "k-1x")],
        [("x-api-key", "\udcff")],
        [("x-api-key", "sha256:" + hashlib.sha256(b"k-1").hexdigest())],
    ],
)
def test_anything_else_is_refused_and_told_what_to_send(headers: Headers) -> None:
    with pytest.raises(GatewayError, match=r"Authorization: Bearer KEY.*x-api-key: KEY") as caught:
        RING.find(headers)
    assert caught.value.code == "invalid_api_key"


def test_a_refusal_does_not_repeat_the_credential() -> None:
    with pytest.raises(GatewayError) as caught:
        RING.find([("x-api-key", "somebodys-secret")])
    assert "somebodys" not in caught.value.message


def test_an_open_ring_serves_those_without_a_key_for_inference_only() -> None:
    ring = ring_of(key("team", "k-1"), open=True)
    assert ring.find([]).scopes == {"infer"}
    assert ring.find([]).models == ("*",)
    assert ring.find([("x-api-key", "k-1")]).name == "team"


def test_a_key_beyond_ascii_is_compared_by_its_bytes() -> None:
    ring = ring_of(environment=(Secret("schlüssel-9"),))
    assert ring.find([("x-api-key", "schlüssel-9".encode().decode("latin-1"))]).name == "env-1"


def test_the_ring_does_not_keep_the_keys_text() -> None:
    assert "e-1" not in repr(vars(RING))


def test_keys_that_changed_hold_for_connections_that_know_better() -> None:
    ring, known = ring_of(key("team", "k-1")), dict[object, object]()
    assert ring.find([("x-api-key", "k-1")], known).name == "team"
    ring.change((key("other", "k-2"),), (Secret("e-1"),))
    with pytest.raises(GatewayError) as caught:
        ring.find([("x-api-key", "k-1")], known)
    assert caught.value.code == "invalid_api_key"
    assert ring.find([("x-api-key", "k-2")]).name == "other"
    assert ring.find([("x-api-key", "e-1")]).name == "env-1"


def test_a_key_is_refused_from_the_second_on_at_which_it_ends_also_where_it_is_known() -> None:
    now = NOW
    limited = msgspec.structs.replace(key("team", "k-1"), expires=Moment(NOW + 10))
    ring, known = KeyRing((limited,), date=lambda: now), dict[object, object]()
    assert ring.find([("x-api-key", "k-1")], known).name == "team"
    now = NOW + 9.9
    assert ring.find([("x-api-key", "k-1")], known).name == "team"
    now = NOW + 10
    for memory in (known, None):
        with pytest.raises(GatewayError, match=r"^invalid_api_key: This key has expired\. Send") as caught:
            ring.find([("x-api-key", "k-1")], memory)
        assert "team" not in caught.value.message


def test_only_who_has_a_key_that_ended_learns_that_there_was_one() -> None:
    caller = Caller("old", frozenset({"infer"}), ("*",))
    revoked = Credential(hashlib.sha256(b"k-9").digest(), caller, NOW - 1, "was revoked")
    ring = ring_of()
    ring.change((), (), [revoked])
    with pytest.raises(GatewayError, match="This key was revoked"):
        ring.find([("x-api-key", "k-9")])
    with pytest.raises(GatewayError, match="The key is not one of this server's"):
        ring.find([("x-api-key", "k-8")])


def test_a_key_that_ended_beside_a_good_one_is_no_obstacle() -> None:
    caller = Caller("old", frozenset({"infer"}), ("*",))
    replaced = Credential(hashlib.sha256(b"k-9").digest(), caller, NOW, "was replaced by a new one")
    ring = ring_of()
    ring.change((key("team", "k-1"),), (), [replaced])
    assert ring.find([("authorization", "Bearer k-9"), ("x-api-key", "k-1")]).name == "team"


def test_the_configuration_counts_before_what_is_stored() -> None:
    ring = ring_of()
    again = Credential(hashlib.sha256(b"k-1").digest(), Caller("stored", frozenset(), ()), NOW - 1, "was revoked")
    ring.change((key("team", "k-1"),), (), [again])
    assert ring.find([("x-api-key", "k-1")]).name == "team"


def test_a_caller_knows_that_it_must_stay_local() -> None:
    ring = ring_of(msgspec.structs.replace(key("team", "k-1"), local_only=True), key("ops", "k-2"))
    assert ring.find([("x-api-key", "k-1")]).local_only
    assert not ring.find([("x-api-key", "k-2")]).local_only


def test_whoever_needs_no_key_is_known_the_next_time_and_a_key_of_ours_is_still_one() -> None:
    ring, known = ring_of(key("team", "k-1"), open=True), dict[object, object]()
    assert ring.find([("x-api-key", "dummy")], known).name == "anonymous"
    assert ring.find([("x-api-key", "dummy")], known).name == "anonymous"
    assert ring.find([("x-api-key", "k-1")], {}).name == "team"
