import hashlib

import pytest

from appliance.access.keys import KeyRing
from appliance.config.schema import Key
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


RING = KeyRing((key("team", "k-1"), key("ops", "k-2")), (Secret("e-1"), Secret("e-2")))


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
    ring = KeyRing((key("team", "k-1"),), (), open=True)
    assert ring.find([]).scopes == {"infer"}
    assert ring.find([]).models == ("*",)
    assert ring.find([("x-api-key", "k-1")]).name == "team"


def test_a_key_beyond_ascii_is_compared_by_its_bytes() -> None:
    ring = KeyRing((), [Secret("schlüssel-9")])
    assert ring.find([("x-api-key", "schlüssel-9".encode().decode("latin-1"))]).name == "env-1"


def test_the_ring_does_not_keep_the_keys_text() -> None:
    assert "e-1" not in repr(vars(RING))


def test_keys_that_changed_hold_for_connections_that_know_better() -> None:
    ring, known = KeyRing((key("team", "k-1"),)), dict[object, object]()
    assert ring.find([("x-api-key", "k-1")], known).name == "team"
    ring.change((key("other", "k-2"),), (Secret("e-1"),))
    with pytest.raises(GatewayError) as caught:
        ring.find([("x-api-key", "k-1")], known)
    assert caught.value.code == "invalid_api_key"
    assert ring.find([("x-api-key", "k-2")]).name == "other"
    assert ring.find([("x-api-key", "e-1")]).name == "env-1"
