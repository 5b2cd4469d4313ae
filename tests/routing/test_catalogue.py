from typing import Literal

import pytest

from appliance.config.schema import Backend, Model, Provider, Runtime
from appliance.domain.calls import KINDS, Call, Operation
from appliance.domain.providers import Byok
from appliance.domain.secret import Secret
from appliance.domain.status import BackendStatus, ModelCard
from appliance.domain.targets import Address, Endpoint
from appliance.fleet.table import Fleet, FleetTable
from appliance.routing.catalogue import Catalogue
from appliance.routing.clouds import Clouds
from appliance.routing.pick import candidates

ENDPOINT = Endpoint(Address("http", "box", 8080))
QWEN = Runtime(name="qwen", engine="llama.cpp", model="/m/q.gguf")
TGI = Backend(name="tgi-box", engine="tgi", url="http://box:8080")


def listing(*ids: str) -> Fleet:
    table = FleetTable()
    cards = tuple(ModelCard(name, {"max_model_len": 8}) for name in ids)
    table.set_backend(BackendStatus("tgi-box", "tgi", ENDPOINT, healthy=True, models=cards))
    return table.snapshot()


def test_a_runtime_without_a_model_entry_is_served_as_its_name() -> None:
    model = Catalogue([], [QWEN], []).resolve("qwen", Fleet())
    assert model is not None
    assert model.targets[0].owner == "qwen"
    assert model.operations == KINDS["chat"]


def test_a_runtime_behind_an_alias_is_not_listed_twice() -> None:
    catalogue = Catalogue([Model(name="smart", targets=("qwen",))], [QWEN], [])
    assert list(catalogue.listed(Fleet())) == ["smart"]


def test_an_inactive_model_does_not_exist() -> None:
    catalogue = Catalogue([Model(name="smart", targets=("qwen",), active=False)], [QWEN], [])
    assert catalogue.resolve("smart", Fleet()) is None
    assert catalogue.resolve("qwen", Fleet()) is None


def test_a_backends_models_carry_the_ids_it_lists_and_its_cards() -> None:
    catalogue = Catalogue([], [], [(TGI, ENDPOINT)])
    model = catalogue.resolve("org/llama", listing("org/llama"))
    assert model is not None
    assert (model.owner, model.targets[0].model, model.card) == ("tgi-box", "org/llama", {"max_model_len": 8})


def test_a_clash_of_names_is_resolved_with_the_backends_name() -> None:
    catalogue = Catalogue([], [QWEN], [(TGI, ENDPOINT)])
    assert set(catalogue.listed(listing("qwen"))) == {"qwen", "tgi-box/qwen"}


def test_targets_are_split_at_the_first_slash() -> None:
    catalogue = Catalogue([Model(name="m", targets=("tgi-box/org/llama", "qwen"))], [QWEN], [(TGI, ENDPOINT)])
    model = catalogue.resolve("m", Fleet())
    assert model is not None
    assert [(target.owner, target.model) for target in model.targets] == [("tgi-box", "org/llama"), ("qwen", "qwen")]
    assert model.operations is None


@pytest.mark.parametrize(("engine", "name"), [("vllm", "big"), ("llama.cpp", "big"), ("command", "/m/big")])
def test_an_engine_knows_its_model_by_the_name_that_it_was_given(
    engine: Literal["vllm", "llama.cpp", "command"], name: str
) -> None:
    runtime = Runtime(name="big", engine=engine, model="/m/big", command=("x",))
    model = Catalogue([], [runtime], []).resolve("big", Fleet({}, {}))
    assert model is not None
    assert model.targets[0].model == name


def test_the_default_model_is_known_by_name() -> None:
    assert Catalogue([], [QWEN], []).default == ""
    models = [Model(name="a", targets=("qwen",)), Model(name="b", targets=("qwen",), default=True)]
    assert Catalogue(models, [QWEN], []).default == "b"


CLOUDS = Clouds.of([Provider(name="openai")], [], {"openai": Secret("sk-owner")})


def test_a_model_may_have_a_providers_as_a_target() -> None:
    catalogue = Catalogue([Model(name="m", targets=("qwen", "openai/org/gpt"))], [QWEN], [], CLOUDS)
    model = catalogue.resolve("m", Fleet())
    assert model is not None
    target = model.targets[1]
    assert (target.kind, target.owner, target.model, target.key) == (
        "provider",
        "openai",
        "org/gpt",
        Secret("sk-owner"),
    )
    assert target in candidates(model, Operation.CHAT, Fleet())


def test_a_callers_own_key_makes_a_model_of_its_own_that_is_not_listed() -> None:
    catalogue = Catalogue([], [], [], CLOUDS)
    model, targets = catalogue.byok(Call(Operation.CHAT, "gpt", b"{}"), "bob", Byok("openai", Secret("sk-own")))
    assert (model.name, [target.model for target in targets]) == ("byok/openai", ["gpt"])
    assert catalogue.listed(Fleet()) == {}
