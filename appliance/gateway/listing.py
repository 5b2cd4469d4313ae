"""The model list: what exists, seen through the caller's key."""

from appliance.access.keys import Caller
from appliance.access.policy import may_use
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.routing.catalogue import Catalogue, PublicModel
from appliance.wire.models import model_entry


class Listing:
    """Answers `/v1/models` and `/v1/models/{id}`."""

    def __init__(self, catalogue: Catalogue, fleet: FleetTable, created: int) -> None:
        """`created` is the Unix time that models carry when their engine gives none."""
        self._catalogue = catalogue
        self._fleet = fleet
        self._created = created

    def entries(self, caller: Caller) -> list[dict[str, object]]:
        """Every model that the caller may use, by name."""
        listed = self._catalogue.listed(self._fleet.snapshot())
        return [self._entry(model) for name, model in sorted(listed.items()) if may_use(caller, name)]

    def entry(self, name: str, caller: Caller) -> dict[str, object]:
        """One model.

        Raises:
            GatewayError: `model_not_found`, also for a model that the key may not see.
        """
        model = self._catalogue.resolve(name, self._fleet.snapshot())
        if model is None or not may_use(caller, model.name):
            raise GatewayError("model_not_found", f"No active model is called {name!r}.", param="model")
        return self._entry(model)

    def _entry(self, model: PublicModel) -> dict[str, object]:
        return model_entry(model.name, model.card, model.owner, self._created)
