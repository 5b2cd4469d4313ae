import pytest

from appliance.config.schema import Key, Provider
from appliance.domain.calls import Call, Operation
from appliance.domain.providers import Byok
from appliance.domain.secret import Secret
from appliance.errors import GatewayError
from appliance.routing.clouds import Clouds

OWNER, ALICE, OWN = Secret("sk-owner"), Secret("sk-alice"), Secret("sk-own")
CLOUDS = Clouds.of(
    [Provider(name="openai", key_env="X"), Provider(name="anthropic", url="http://127.0.0.1:9")],
    [Key(name="alice", hash="sha256:0", provider_keys={"openai": "/f"})],
    {"openai": OWNER, "alice/openai": ALICE, "box": Secret("other")},
)


def call(operation: Operation = Operation.CHAT, model: str = "gpt-5") -> Call:
    return Call(operation, model, b"{}")


def refused(byok: Byok, asked: Call, caller: str = "bob") -> str:
    with pytest.raises(GatewayError) as caught:
        CLOUDS.byok(asked, caller, byok)
    return caught.value.code


def test_a_callers_own_key_goes_with_its_own_request() -> None:
    target = CLOUDS.byok(call(), "bob", Byok("openai", OWN))
    assert (target.kind, target.key, target.callers, target.model) == ("provider", OWN, True, "gpt-5")
    assert target.name == "openai"  # a client's own words are no label


def test_a_key_that_is_kept_serves_its_owner_only() -> None:
    assert CLOUDS.byok(call(), "alice", Byok("openai")).key == ALICE
    assert CLOUDS.byok(call(), "alice", Byok("openai", OWN)).key == OWN
    assert refused(Byok("openai"), call()) == "missing_byok_key"


def test_the_owners_key_is_for_targets_only() -> None:
    target = CLOUDS.allowed["openai"].target("gpt-5")
    assert (target.name, target.key, target.callers) == ("openai/gpt-5", OWNER, False)
    assert not target.on_this_box


def test_every_request_to_a_provider_has_the_same_endpoint_and_no_credential_in_it() -> None:
    one = CLOUDS.byok(call(), "bob", Byok("openai", OWN)).endpoint
    assert one is CLOUDS.allowed["openai"].target("gpt-5").endpoint
    assert one is not None
    assert one.shared
    assert one.credential is None


def test_what_cannot_be_asked() -> None:
    assert refused(Byok("gemini", OWN), call()) == "invalid_byok_provider"
    assert refused(Byok("openai", OWN), call(model="")) == "missing_required_parameter"
    assert refused(Byok("anthropic", OWN), call(Operation.EMBEDDING)) == "unsupported"
    assert refused(Byok("anthropic", OWN), call(Operation.COMPLETION)) == "unsupported"
    assert refused(Byok("openai", OWN), call(Operation.COUNT_TOKENS)) == "unsupported"
