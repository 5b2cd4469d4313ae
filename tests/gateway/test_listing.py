import json

import pytest

from appliance.access.keys import Caller
from appliance.config.schema import Runtime
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.gateway.listing import Listing
from appliance.routing.catalogue import Catalogue

RUNTIMES = [Runtime(name=name, engine="llama.cpp", model="/m") for name in ("zeta", "alpha")]
LISTING = Listing(Catalogue([], RUNTIMES, []), FleetTable(), 1_700_000_000)


def caller(*models: str) -> Caller:
    return Caller("k", frozenset({"infer"}), models)


def test_models_come_sorted_and_as_the_key_may_see_them() -> None:
    assert [entry["id"] for entry in LISTING.entries(caller("*"))] == ["alpha", "zeta"]
    assert [entry["id"] for entry in LISTING.entries(caller("al*"))] == ["alpha"]


def test_a_hidden_model_looks_like_one_that_does_not_exist() -> None:
    with pytest.raises(GatewayError) as caught:
        LISTING.entry("zeta", caller("alpha"))
    assert caught.value.code == "model_not_found"


def test_an_entry_has_what_the_sdks_need() -> None:
    entry = json.loads(json.dumps(LISTING.entry("zeta", caller("*"))))
    assert entry["object"] == "model"
    assert entry["created"] == 1_700_000_000
    assert entry["owned_by"] == "appliance"
