from typing import get_args, get_type_hints

import pytest

from appliance.config.schema import Backend
from appliance.domain.calls import Operation
from appliance.domain.engines import BACKEND_ENGINES, ENGINES, RUNTIME_ENGINES


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_a_probe_path_and_something_it_can_do(name: str) -> None:
    engine = ENGINES[name]
    assert engine.probe.startswith("/")
    assert engine.operations
    assert engine.idle_close > 0


def test_the_table_and_the_config_name_the_same_backends() -> None:
    assert set(get_args(get_type_hints(Backend)["engine"])) == set(BACKEND_ENGINES)


def test_every_runtime_engine_is_in_the_table() -> None:
    assert set(RUNTIME_ENGINES) <= set(ENGINES)


def test_a_probe_that_lists_models_is_the_model_list() -> None:
    assert all(engine.probe == "/v1/models" for engine in ENGINES.values() if engine.probe_lists_models)


def test_tgi_has_no_embeddings() -> None:
    assert Operation.EMBEDDING not in ENGINES["tgi"].operations
