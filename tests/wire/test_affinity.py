import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Call, Operation
from appliance.wire.affinity import affinity_of

SYSTEM = {"role": "system", "content": "You are a careful assistant. " * 100}
TEXT = st.text(max_size=40)


def affinity(body: object, operation: Operation = Operation.CHAT, model: str = "m", **headers: str) -> bytes:
    call = Call(operation, model, json.dumps(body).encode())
    return affinity_of(call, [(name.replace("_", "-"), value) for name, value in headers.items()])


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(turns)
    return {
        "messages": [SYSTEM, *({"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False))],
        **more,
    }


def test_the_turns_of_a_conversation_stay_together() -> None:
    first = affinity(chat("Why is the sky blue?"))
    assert first
    assert affinity(chat("Why is the sky blue?", "Because …", "And the sea?")) == first


def test_other_conversations_and_other_models_are_others() -> None:
    ours = affinity(chat("a"))
    assert affinity(chat("b")) != ours
    assert affinity(chat("a"), model="n") != ours
    assert affinity({"messages": [{"role": "user", "content": "a"}]}) != ours


def test_what_comes_after_the_first_kilobyte_makes_no_difference() -> None:
    assert affinity(chat("x" * 2000 + "a")) == affinity(chat("x" * 2000 + "b"))
    assert affinity({"prompt": "x" * 2000 + "a"}, Operation.COMPLETION) == affinity(
        {"prompt": "x" * 2000 + "b"}, Operation.COMPLETION
    )


def test_the_whole_of_the_instructions_makes_a_difference() -> None:
    other = {"role": "system", "content": f"{SYSTEM['content']}!"}
    assert affinity({"messages": [other, {"role": "user", "content": "a"}]}) != affinity(chat("a"))


@pytest.mark.parametrize(
    "named", [{"prompt_cache_key": "k"}, {"user": "ann"}, {"metadata": {"user_id": "ann"}, "prompt_cache_key": ""}]
)
def test_what_a_client_names_counts_before_what_it_says(named: dict[str, Any]) -> None:
    assert affinity(chat("a", **named)) == affinity(chat("b", **named)) != affinity(chat("a"))


def test_the_most_telling_name_counts() -> None:
    assert affinity(chat("a", prompt_cache_key="k", user="ann")) == affinity(
        chat("b", prompt_cache_key="k", user="bob")
    )
    assert affinity(chat("a", user="ann"), x_session_id="s") == affinity(chat("b", user="bob"), x_session_id="s")
    assert affinity(chat("a"), x_session_id="s") != affinity(chat("a"), x_session_id="t")
    assert affinity(chat("a"), x_session_id="") == affinity(chat("a"))


def test_a_messages_request_has_its_system_beside_its_messages() -> None:
    def ask(system: object, text: str) -> bytes:
        body = {"system": system, "messages": [{"role": "user", "content": text}], "max_tokens": 5}
        return affinity(body, Operation.MESSAGES)

    blocks = [{"type": "text", "text": "Be brief."}]
    assert ask(blocks, "a") == ask(blocks, "a") != ask(blocks, "b")
    assert ask(blocks, "a") != ask("Be brief.", "a")


def test_a_response_has_instructions_and_an_input() -> None:
    one = {"instructions": "Be brief.", "input": "a"}
    assert affinity(one, Operation.RESPONSES) == affinity(dict(one), Operation.RESPONSES)
    assert affinity(one, Operation.RESPONSES) != affinity(one | {"input": "b"}, Operation.RESPONSES)


@pytest.mark.parametrize("operation", [Operation.EMBEDDING, Operation.RERANK, Operation.COUNT_TOKENS])
def test_where_nothing_is_kept_it_does_not_matter(operation: Operation) -> None:
    assert affinity({"input": "a", "user": "ann"}, operation) == b""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda some: st.lists(some) | st.dictionaries(TEXT, some),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "user", "metadata", "system", "prompt", "prompt_cache_key"]), JSON))
def test_a_strange_body_is_no_trouble(body: dict[str, Any]) -> None:
    assert affinity(body) == affinity(body)


def test_bytes_that_are_no_json_are_no_trouble() -> None:
    assert affinity_of(Call(Operation.CHAT, "m", b"{"), []) == b""
