import json

import pytest

from appliance.domain.odd_members import ODD_MEMBERS


@pytest.mark.parametrize("name", ["prompt", "prompt_token_ids", "prompt_embeds", "input", "text", "arguments"])
def test_a_member_is_found_by_its_name_as_json_has_it(name: str) -> None:
    assert any(member in json.dumps({"model": "m", name: 1}) for member in ODD_MEMBERS)


@pytest.mark.parametrize(
    "body", [{"model": "m", "messages": [{"role": "user", "content": "a prompt and its text"}]}, {}]
)
def test_an_ordinary_chat_has_none(body: dict[str, object]) -> None:
    assert not any(member in json.dumps(body) for member in ODD_MEMBERS)
