"""A text that arrives in pieces: what may leave now, and what has to wait for its next characters.

What comes out, all pieces together, is the same however the text was cut into pieces: a match is decided only when no
rule could still match from the same place or an earlier one with more text. So nothing leaks across the borders of a
stream's chunks, and a text without anything suspicious at its end waits for nothing.
"""

from collections.abc import Iterator

from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Block, Finding, blocked

PIECE = 2 * 2**10  # characters that are looked at without giving others their turn; a few milliseconds


class Window:
    """The one text of one answer or one field.

    Args:
        scanner: what to look for.

    Attributes:
        findings: each kind of finding with how often it was found.
        block: set when a guardrail lets nothing more through; then every further call gives "".
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._text = b""
        self._at = 0  # what is in front of it has left, or has been replaced
        self.findings: dict[Finding, int] = {}
        self.block: Block | None = None

    def feed(self, piece: str) -> str:
        """Take the next characters; what may leave now, redacted."""
        return self._take(piece.encode("utf-8", "replace"), last=False)

    def finish(self) -> str:
        """The text has ended; the rest of it, redacted."""
        return self._take(b"", last=True)

    @property
    def waiting(self) -> int:
        """Bytes that are held back."""
        return len(self._text) - self._at

    def _take(self, piece: bytes, *, last: bool) -> str:
        if self.block is not None:
            return ""
        # One character in front stays: a word's border is between two characters.
        context = max(0, self._at - 1)
        text = self._text = self._text[context:] + piece
        self._at -= context
        return b"".join(self._decided(text, last=last)).decode()

    def _decided(self, text: bytes, *, last: bool) -> Iterator[bytes]:
        limit = len(text) if last else self._scanner.begun_at(text, self._at)
        while (match := self._scanner.next(text, self._at, limit)) is not None:
            yield text[self._at : match.start]
            finding = match.rule.finding()
            self.findings[finding] = self.findings.get(finding, 0) + 1
            if finding.action == "block":
                self._at = len(text)
                self.block = blocked(list(self.findings))
                return
            at, self._at = match.start, match.end
            yield match.rule.detector.placeholder.encode() if finding.action == "redact" else text[at : match.end]
            if not last and match.end > limit:
                limit = self._scanner.begun_at(text, match.end)
        if limit > self._at:
            yield text[self._at : limit]
            self._at = limit


def pieces(text: str) -> Iterator[str]:
    """A long text in pieces for a window."""
    for at in range(0, len(text), PIECE):
        yield text[at : at + PIECE]
