import pytest

from appliance.access.keys import Caller
from appliance.domain.calls import Call, Operation
from appliance.domain.targets import Address, Endpoint, Target
from appliance.errors import GatewayError
from appliance.gateway.fitting import fitting, may_leave
from tests.fakes.accounts import exchange

HERE = Target("m", "runtime", "m", "llama.cpp", "m")
CLOUD = Target("openai/x", "provider", "openai", "openai-api", "x", Endpoint(Address("https", "api", 443)))
CHAT = Call(Operation.CHAT, "m", b"{}")


def caller(*models: str, local_only: bool = False) -> Caller:
    return Caller("a", frozenset({"infer"}), models, local_only=local_only)


def test_what_stays_goes_to_this_box_only() -> None:
    staying = exchange()
    staying.stays = True
    assert fitting([CLOUD, HERE], CHAT, "m", staying) == [HERE]
    with pytest.raises(GatewayError) as caught:
        fitting([CLOUD], CHAT, "m", staying)
    assert caught.value.code == "local_only"
    assert fitting([CLOUD, HERE], CHAT, "m", exchange()) == [CLOUD, HERE]


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (caller("*"), ""),
        (caller("openai/*"), ""),
        (caller("m"), "model_not_allowed"),
        (caller("*", local_only=True), "local_only"),
    ],
)
def test_who_may_take_a_key_of_its_own_to_a_provider(who: Caller, code: str) -> None:
    if not code:
        may_leave(who, "openai/x")
        return
    with pytest.raises(GatewayError) as caught:
        may_leave(who, "openai/x")
    assert caught.value.code == code
