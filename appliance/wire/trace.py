"""The trace that a request belongs to: `traceparent` of W3C Trace Context (level 1), read strictly, written anew."""

import re

HEADER = "traceparent"
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_VERSION, _NO_TRACE, _NO_SPAN = "ff", "0" * 32, "0" * 16
SAMPLED = "01"  # somebody keeps it: our log has a line with its id


def read_trace(value: str) -> tuple[str, str] | None:
    """The trace's id and its flags; None where the header is not valid, which counts as absent.

    A later version may have more parts than ours, which are left out.
    """
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == _NO_VERSION or trace == _NO_TRACE or span == _NO_SPAN or (more and version == "00"):
        return None
    return trace, flags


def traceparent(own: str, trace: tuple[str, str] | None) -> str:
    """The header for whoever we ask, with a span of ours.

    Args:
        own: 32 random hex digits of this exchange; they name the trace where the client has none.
        trace: what `read_trace` found.
    """
    if trace is None:
        return f"00-{own}-{own[16:]}-{SAMPLED}"
    return f"00-{trace[0]}-{own[16:]}-{trace[1]}"
