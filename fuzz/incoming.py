"""Bytes of a client against what reads them: `make fuzz ARGS="-max_total_time=60"` runs until something is found.

A finding is a crash (anything but a refusal), a reading that depends on how the bytes were cut, or a request that
llhttp reads differently. The gate has the short form of this in `tests/door/test_fuzz.py`.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["appliance"]):
    from appliance.errors import GatewayError
    from appliance.http1.incoming import RequestHead
    from tests.fakes.packets import ACCEPTED, REFUSED, cut, read

from fuzz.second_opinion import llhttp

_REFUSALS = {400, 405, 413, 421, 431}
_MOST_MESSAGES = 8

Message = tuple[RequestHead, bytes]


def main() -> None:
    """Seed the corpus, which is the last argument, and run."""
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    packets = [*ACCEPTED.values(), *(raw for raw, _ in REFUSED.values())]
    for number, packet in enumerate(packets):
        (corpus / f"seed-{number:03}").write_bytes(b"\x07" + packet)
    atheris.Setup(sys.argv, look)
    atheris.Fuzz()


def look(data: bytes) -> None:
    """The first byte says where the rest is cut.

    Raises:
        AssertionError: a finding.
    """
    if not data:
        return
    at, raw = data[0], data[1:]
    messages, outcome = conversation([raw])
    for pieces in (cut(raw, range(at + 1, len(raw), at + 1)), cut(raw, [len(raw) - at])):
        others, other = conversation(pieces)
        # Of two faults the cuts may decide which is seen first.
        same = (others, other is None) == (messages, outcome is None)
        expect(same, "the cuts decide", pieces, messages, outcome, others, other)
    expect(outcome is None or outcome in _REFUSALS, "an odd refusal", outcome)
    compare(raw, messages)


def conversation(pieces: list[bytes]) -> tuple[list[Message], int | None]:
    """The messages in the order in which they came, and the status of the refusal that ended them."""
    messages: list[Message] = []
    while len(messages) < _MOST_MESSAGES:
        try:
            result = read(pieces)
        except GatewayError as error:
            return messages, error.row.status
        if result is None:
            break
        head, body, rest = result
        messages.append((head, body))
        if head.upgrade or not head.keep_alive:
            break
        pieces = [rest]
    return messages, None


def compare(raw: bytes, messages: list[Message]) -> None:
    """What we read, llhttp reads as the same.

    Raises:
        AssertionError: a finding.
    """
    theirs = llhttp(raw)
    for (head, body), other in zip(messages, theirs, strict=False):
        expect((head.method, head.headers) == (other.method, other.headers), "another head", head, other)
        if any(name == "upgrade" for name, _ in head.headers):
            return  # llhttp may stop reading HTTP there, on HTTP/1.0 too where RFC 9110 7.8 says to ignore it
        expect(body == other.body and other.complete, "another body", head, body, other)
    expect(len(theirs) >= len(messages), "more messages", messages, theirs)


def expect(fine: bool, what: str, *evidence: object) -> None:  # noqa: FBT001 - as assert has it
    """An assertion that no flag turns off.

    Raises:
        AssertionError: it is not fine.
    """
    if not fine:
        raise AssertionError(what, *evidence)


if __name__ == "__main__":
    main()
