import re

import pytest

from appliance.errors import TABLE, ConnectionLost, GatewayError, OperatorError, UpstreamError, UpstreamTimeout


def test_every_row_is_an_error_status_with_a_sentence() -> None:
    for code, row in TABLE.items():
        assert re.fullmatch(r"[a-z][a-z_]*", code)
        assert 400 <= row.status < 600
        assert row.meaning.endswith(".")


def test_the_fault_agrees_with_the_status() -> None:
    for code, row in TABLE.items():
        assert (row.fault == "caller") == (row.status < 500 or code == "unsupported"), code


def test_a_gateway_error_knows_its_row() -> None:
    error = GatewayError("queue_full", "Try later.", retry_after=3)
    assert error.row is TABLE["queue_full"]
    assert str(error) == "queue_full: Try later."


def test_extras_are_not_shared() -> None:
    GatewayError("queue_full", "x").extras["state"] = "loading"
    assert GatewayError("queue_full", "x").extras == {}


def test_a_timeout_names_its_stage_and_a_lost_connection_its_moment() -> None:
    error = UpstreamTimeout("first_byte", 2.5)
    assert str(error) == "no answer within 2.5 s (first byte)"
    assert (error.stage, error.seconds) == ("first_byte", 2.5)
    assert ConnectionLost("x", before_reply=True).before_reply


def test_an_operators_mistake_is_no_answer_for_a_client() -> None:
    with pytest.raises(OperatorError, match="no such file"):
        raise OperatorError("no such file")
    assert not issubclass(OperatorError, GatewayError | UpstreamError)
