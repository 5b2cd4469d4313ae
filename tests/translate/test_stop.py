import pytest

from appliance.translate.stop import stop_of


@pytest.mark.parametrize(
    ("finish", "calls", "refused", "reason"),
    [
        ("tool_calls", True, False, "tool_use"),
        ("function_call", True, False, "tool_use"),
        ("stop", True, False, "tool_use"),
        ("length", True, False, "max_tokens"),
        ("tool_calls", False, False, "end_turn"),  # a client would wait for a call that is not there
        ("stop", False, True, "refusal"),
        (None, False, False, "end_turn"),
        ("something new", False, False, "end_turn"),
    ],
)
def test_what_was_said_and_how_it_ended(finish: str | None, calls: bool, refused: bool, reason: str) -> None:
    assert stop_of(finish, None, calls=calls, refused=refused) == (reason, None)


def test_only_a_string_is_a_stop_sequence() -> None:
    assert stop_of("stop", "END", calls=False) == ("stop_sequence", "END")
    assert stop_of("stop", 7, calls=False) == ("end_turn", None)
    assert stop_of("length", "END", calls=False) == ("max_tokens", None)
