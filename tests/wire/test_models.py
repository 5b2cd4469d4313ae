import json

import pytest
from openai.types import Model

from appliance.wire.models import model_entry, model_list


def test_an_entry_is_what_the_engine_said_under_what_we_say() -> None:
    entry = model_entry("m", {"id": "/m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 512}}, "box", 1_700_000_000)
    assert entry == {
        "id": "m",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "box",
        "type": "model",
        "display_name": "m",
        "created_at": "2023-11-14T22:13:20Z",
        "lifecycle": "active",
        "meta": {"n_ctx": 512},
    }
    Model.model_validate(entry, strict=True)


@pytest.mark.parametrize(("said", "kept"), [(5, 5), (0, 9), (-1, 9), ("x", 9), (True, 9), (10**18, 9), (1.5, 9)])
def test_a_date_of_the_engine_counts_if_it_is_one(said: object, kept: int) -> None:
    assert model_entry("m", {"created": said}, "box", 9)["created"] == kept


def test_a_list_is_one_page() -> None:
    entries = [model_entry(name, {}, "box", 1) for name in ("a", "b")]
    assert json.loads(model_list(entries)) == {
        "object": "list",
        "data": entries,
        "has_more": False,
        "first_id": "a",
        "last_id": "b",
    }
    assert json.loads(model_list([]))["first_id"] is None
