"""What is ordered on the pages Now and Requests: the orders of `/ops/v1`, given by a browser."""

from appliance.console.errands import Errands
from appliance.console.pages import Action, Asked, Done
from appliance.errors import GatewayError
from appliance.ops.orders import OrderRoutes
from appliance.ops.requests import RequestRoutes

_DONE = {"load": "is loaded", "unload": "is unloaded", "restart": "is restarted", "drain": "gets no new work"}


def orders_of(orders: OrderRoutes, errands: Errands) -> dict[str, Action]:
    """An action for each order."""

    def action(order: str) -> Action:
        async def give(asked: Asked) -> Done:
            name = asked.form.get("name", "")
            if not name:
                raise GatewayError("missing_required_parameter", "The order names no model.", param="name")

            async def errand() -> Done:
                outcome = await orders.carry_out(order, name, asked.session.name, asked.request)
                if outcome.ok:
                    return Done(f"{name} {_DONE[order]}.")
                return Done(f"{name} is {outcome.state}. {outcome.detail}".strip(), ok=False)

            return await errands.send(asked, f"{order.capitalize()} {name}", errand)

        return give

    return {order: action(order) for order in _DONE}


def canceller(requests: RequestRoutes) -> Action:
    """The action that ends a request."""

    async def cancel(asked: Asked) -> Done:
        outcome = requests.cancel(asked.form.get("id", ""), asked.session.name, asked.request)
        return Done("The request is ended." if outcome.ok else outcome.detail, ok=outcome.ok)

    return cancel
