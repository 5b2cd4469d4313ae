"""Which of a model's targets a request may be sent to: what stays on the box, and what only Anthropic can be asked."""

from appliance.access.keys import Caller
from appliance.access.policy import may_use
from appliance.domain.calls import Call
from appliance.domain.targets import Target
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.translated import NATIVE


def may_leave(caller: Caller, model: str) -> None:
    """Refuse a caller that may not take its own key to a provider's model; patterns see it as "provider/model".

    Raises:
        GatewayError: `local_only` or `model_not_allowed`.
    """
    if caller.local_only:
        raise stays(model)
    if not may_use(caller, model):
        raise GatewayError("model_not_allowed", f"This key may not use {model!r}.", param="model")


def fitting(targets: list[Target], call: Call, model: str, exchange: Exchange) -> list[Target]:
    """The targets that a request may be sent to, and that can be asked it.

    Raises:
        GatewayError: there is none: `local_only`, or what makes the request one for Anthropic alone.
    """
    if exchange.stays:
        targets = [target for target in targets if target.on_this_box]
        if not targets:
            raise stays(model)
    if call.foreign is not None and call.foreign.problem is not None:
        targets = [target for target in targets if target.engine == NATIVE and not exchange.in_chat]
        if not targets:
            raise call.foreign.problem
    return targets


def stays(model: str) -> GatewayError:
    """The refusal of what would leave the box."""
    message = f"This key's requests may not leave the box, and {model!r} is not served on it. Choose another model."
    return GatewayError("local_only", message, param="model")
