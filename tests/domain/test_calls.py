import dataclasses

import pytest

from appliance.domain.calls import KINDS, Call, Operation, Usage


def test_every_operation_has_its_openai_path() -> None:
    assert [operation.path for operation in Operation] == ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]


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
