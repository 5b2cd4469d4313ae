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
        findings: where findings are counted; several windows may share it.

    Attributes:
        findings: each kind of finding with how often it was found.
        block: set when a guardrail lets nothing more through; then every further call gives "".
    """

    def __init__(self, scanner: Scanner, findings: dict[Finding, int] | None = None) -> None:
        self._scanner = scanner
        self._text = b""
        self._at = 0  # what is in front of it is decided: it has left, or has been replaced
        self._gone = 0  # what is in front of it has left, decided or not
        self.findings: dict[Finding, int] = {} if findings is None else findings
        self.block: Block | None = None

    def feed(self, piece: str) -> str:
        """Take the next characters; what may leave now, redacted."""
        return self._take(piece.encode("utf-8", "replace"), last=False)

    def finish(self) -> str:
        """The text has ended; the rest of it, redacted."""
        return self._take(b"", last=True)

    def pause(self) -> str:
        """Another text goes on; what waits here leaves as if this one had ended, and is still remembered if it has not.

        Of a match that begins in front of a pause and ends behind it, only the first part can have left.
        """
        if not self.waiting or self.block is not None:
            return ""
        undecided = self._at
        out = b"".join(self._decided(self._text, last=True))
        self._at, self._gone = undecided, len(self._text)
        return out.decode()

    @property
    def waiting(self) -> int:
        """Bytes that are held back."""
        return len(self._text) - max(self._at, self._gone)

    def _take(self, piece: bytes, *, last: bool) -> str:
        if self.block is not None:
            return ""
        # One character in front stays: a word's border is between two characters.
        context = max(0, self._at - 1)
        text = self._text = self._text[context:] + piece
        self._at -= context
        self._gone = max(self._gone - context, self._at)
        return b"".join(self._decided(text, last=last)).decode()

    def _decided(self, text: bytes, *, last: bool) -> Iterator[bytes]:
        limit = len(text) if last else self._scanner.begun_at(text, self._at)
        while (match := self._scanner.next(text, self._at, limit)) is not None:
            yield text[max(self._at, self._gone) : match.start]
            at, self._at = max(match.start, self._gone), match.end
            if match.end <= self._gone:  # it was found before a pause
                continue
            finding = match.rule.finding()
            self.findings[finding] = self.findings.get(finding, 0) + 1
            if finding.action == "block":
                self._at = len(text)
                self.block = blocked(list(self.findings))
                return
            yield match.rule.detector.placeholder.encode() if finding.action == "redact" else text[at : match.end]
            if not last and match.end > limit:
                limit = self._scanner.begun_at(text, match.end)
        if limit > self._at:
            yield text[max(self._at, self._gone) : limit]
            self._at = limit


class Open:
    """A window that nobody looks through; the same methods."""

    def __init__(self) -> None:
        self.block: Block | None = None

    def feed(self, piece: str) -> str:
        """The same characters."""
        return piece

    def finish(self) -> str:
        """Nothing waits here."""
        return ""

    pause = finish


def pieces(text: str) -> Iterator[str]:
    """A long text in pieces for a window."""
    for at in range(0, len(text), PIECE):
        yield text[at : at + PIECE]
