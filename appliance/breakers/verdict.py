"""What the end of an exchange says about the target that it used. Pure."""

import enum

from appliance.domain.engines import ENGINES


class Verdict(enum.Enum):
    """Of one exchange, about its target."""

    GOOD = "good"  # it answered, to the end
    BAD = "bad"
    NOTHING = "nothing"


_BAD_CODES = frozenset(
    {
        "backend_unreachable",
        "backend_died",
        "backend_timeout",
        "stream_truncated",
        "empty_response",
        "upstream_protocol",
        "redirect_refused",
    }
)


def verdict(outcome: str, status: int, code: str, engine: str) -> Verdict:
    """Judge one end.

    A client's leaving and errors of ours say nothing. Nor does a status by which an engine says that it is full or
    still loading (503 of those that load), or one that it gives for the request's fault: 4xx, 429, and the 500 of
    llama-server.

    Args:
        outcome: of the exchange record: "ok", "error", "backend_error" or "client_gone".
        status: what the client was sent.
        code: of our own error, where there was one.
        engine: a key of `domain.engines.ENGINES`.
    """
    if outcome == "ok":
        return Verdict.GOOD
    if outcome == "error":
        return Verdict.BAD if code in _BAD_CODES else Verdict.NOTHING
    if outcome != "backend_error" or status < 500 or status == 501:
        return Verdict.NOTHING
    known = ENGINES.get(engine)
    if known is not None and (status == known.loading_status or (status == 500 and known.deterministic_500)):
        return Verdict.NOTHING
    return Verdict.BAD
