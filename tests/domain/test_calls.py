import pytest

from appliance.domain.calls import KINDS, Call, Dialect, Grammar, Operation, Usage


def test_every_path_belongs_to_one_operation() -> None:
    paths = [path for operation in Operation for path in (operation.path, *operation.aliases)]
    assert len(set(paths)) == len(paths)
    assert all(operation.path.startswith("/v1/") for operation in Operation)


def test_only_token_routes_are_elsewhere_at_the_engine() -> None:
    moved = {operation for operation in Operation if operation.engine_path != operation.path}
    assert moved == {Operation.MESSAGES, Operation.TOKENIZE, Operation.DETOKENIZE}


def test_only_these_streams_are_looked_into() -> None:
    chunks = {operation for operation in Operation if operation.grammar is Grammar.CHUNKS}
    assert chunks == {Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES}
    assert [operation for operation in Operation if operation.grammar is Grammar.RESPONSES] == [Operation.RESPONSES]
    assert {operation for operation in Operation if operation.form} == {Operation.TRANSCRIPTION, Operation.TRANSLATION}


def test_messages_go_to_engines_as_chat() -> None:
    assert (Operation.MESSAGES.path, Operation.MESSAGES.engine_path) == ("/v1/messages", "/v1/chat/completions")
    assert Operation.COUNT_TOKENS.path == Operation.COUNT_TOKENS.engine_path == "/v1/messages/count_tokens"
    assert Operation.COUNT_TOKENS.dialect is Dialect.MESSAGES


def test_kinds_cover_every_operation() -> None:
    assert frozenset().union(*KINDS.values()) == frozenset(Operation)


def test_an_operation_is_its_label() -> None:
    assert f"{Operation.CHAT}" == "chat"


def test_usage_does_not_change_after_it_is_made() -> None:
    with pytest.raises(AttributeError):
        Usage().input = 1  # type: ignore[misc]
    assert not Call(Operation.CHAT, "m", b"{}").stream
    assert not Usage().estimated
