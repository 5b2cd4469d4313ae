import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.trace import read_trace, traceparent

TRACE, SPAN, OWN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "0123456789abcdeffedcba9876543210"


def test_a_valid_header_names_the_trace() -> None:
    assert read_trace(f"00-{TRACE}-{SPAN}-01") == (TRACE, "01")
    assert read_trace(f"00-{TRACE}-{SPAN}-00") == (TRACE, "00")


@pytest.mark.parametrize("tail", ["", "-", "-what-later-versions-have"])
def test_a_later_version_may_have_more(tail: str) -> None:
    assert read_trace(f"cc-{TRACE}-{SPAN}-01{tail}") == (TRACE, "01")


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_not_valid_counts_as_absent(value: str) -> None:
    assert read_trace(value) is None


def test_whoever_is_asked_gets_the_clients_trace_with_a_span_of_ours() -> None:
    assert traceparent(OWN, (TRACE, "00")) == f"00-{TRACE}-fedcba9876543210-00"
    assert traceparent(OWN, None) == f"00-{OWN}-fedcba9876543210-01"


@given(st.text(max_size=80))
def test_whatever_comes_what_we_write_is_valid(value: str) -> None:
    written = traceparent(OWN, read_trace(value))
    assert read_trace(written) is not None
