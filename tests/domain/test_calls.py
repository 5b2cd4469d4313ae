import dataclasses

import pytest

from appliance.domain.calls import KINDS, Call, Dialect, Operation, Usage


def test_every_operation_has_its_openai_path() -> None:
    openai = [operation for operation in Operation if operation.dialect is Dialect.OPENAI]
    assert [operation.path for operation in openai] == ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    assert all(operation.engine_path == operation.path for operation in openai)


def test_messages_go_to_engines_as_chat() -> None:
    assert (Operation.MESSAGES.path, Operation.MESSAGES.engine_path) == ("/v1/messages", "/v1/chat/completions")
    assert Operation.COUNT_TOKENS.path == Operation.COUNT_TOKENS.engine_path == "/v1/messages/count_tokens"
    assert Operation.COUNT_TOKENS.dialect is Dialect.MESSAGES


def test_kinds_cover_every_operation() -> None:
    assert frozenset().union(*KINDS.values()) == frozenset(Operation)


def test_an_operation_is_its_label() -> None:
    assert f"{Operation.CHAT}" == "chat"


def test_values_do_not_change_after_they_are_made() -> None:
    call = Call(Operation.CHAT, "m", b"{}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.model = "other"  # type: ignore[misc]
    assert not call.stream
    assert not Usage().estimated
