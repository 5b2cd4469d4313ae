"""A text in several parts, as the content of a message may be, which its model reads as one.

Some engines join the parts as they are, others with a new line. So each part is looked at by itself, and then what
begins in one part and ends in another one, joined in the one way and in the other. What is redacted has its placeholder
where it began; its rest is taken out of the parts behind.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from appliance.guardrails.scanner import Match, Scanner
from appliance.guardrails.verdict import Block, Finding, blocked
from appliance.guardrails.window import PIECE

_STEPS = 64  # of a look across borders, a tenth of a millisecond each at most


class Parts:
    """The parts of one text.

    Args:
        scanner: what to look for.
        texts: the parts; at least one.
        findings: where findings are counted; others may count there too.

    Attributes:
        findings: each kind of finding with how often it was found.
        block: set when a guardrail lets nothing through.
    """

    def __init__(self, scanner: Scanner, texts: Sequence[str], findings: dict[Finding, int] | None = None) -> None:
        self._scanner = scanner
        self._parts = [text.encode("utf-8", "replace") for text in texts]
        self._whole = b"".join(self._parts)
        self._ends = list(accumulate(map(len, self._parts)))
        self._redacted: list[Match] = []
        self.findings: dict[Finding, int] = {} if findings is None else findings
        self.block: Block | None = None

    def look(self) -> Iterator[None]:
        """Look at all of it, or up to the first thing that is blocked, in steps that take a few milliseconds."""
        for match in self._matches():
            if match is None:
                yield
                continue
            finding = match.rule.finding()
            self.findings[finding] = self.findings.get(finding, 0) + 1
            if finding.action == "redact":
                self._redacted.append(match)
            elif finding.action == "block":
                self.block = blocked(list(self.findings))
                return

    def _matches(self) -> Iterator[Match | None]:
        """All matches, by their places in the whole; None where others may have their turn."""
        for part, end in zip(self._parts, self._ends, strict=True):
            begin = end - len(part)
            free = 0  # where the last match ended: the next piece may begin in the middle of it
            for at in range(0, len(part), PIECE):
                for match in self._scanner.all(part, max(at, free), min(at + PIECE, len(part))):
                    yield Match(match.rule, begin + match.start, begin + match.end)
                    free = match.end
                yield None
        known: set[tuple[int, int]] = set()  # the same rule at the same border is the same find, however it is joined
        for line in (b"", b"\n"):
            for step, split in enumerate(self._across(line), 1):
                if split is None:
                    if step % _STEPS == 0:
                        yield None
                    continue
                place = id(split.rule), bisect_right(self._ends, split.start)
                if place not in known:
                    known.add(place)
                    yield split
                elif split.rule.action == "redact":  # it may be longer
                    self._redacted.append(split)

    def _across(self, line: bytes) -> Iterator[Match | None]:
        """See `Scanner.across`: where the parts are joined by this; by their places in the whole."""
        borders = [end + number * len(line) for number, end in enumerate(self._ends[:-1], 1)]
        for split in self._scanner.across(line.join(self._parts), borders):
            if split is None or not line:
                yield split
                continue
            start, end = (at - bisect_right(borders, at) for at in (split.start, split.end))
            yield Match(split.rule, start, end)

    def texts(self) -> list[str]:
        """The parts as the model may see them."""
        kept = [bytearray() for _ in self._parts]
        at = 0
        for match in sorted(self._redacted, key=lambda match: (match.start, -match.end)):
            if match.start >= at:
                self._copy(at, match.start, kept)
                kept[bisect_right(self._ends, match.start)] += match.rule.detector.placeholder.encode()
            at = max(at, match.end)
        self._copy(at, len(self._whole), kept)
        return [part.decode() for part in kept]

    def _copy(self, at: int, end: int, kept: list[bytearray]) -> None:
        while at < end:
            number = bisect_right(self._ends, at)
            stop = min(end, self._ends[number])
            kept[number] += self._whole[at:stop]
            at = stop
