"""Many patterns over one text."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.domain.odd_members import ODD_MEMBERS
from appliance.guardrails.detectors import Detector
from appliance.guardrails.engines import Glance, compiled
from appliance.guardrails.prefixes import beginnings, bounded, loosened
from appliance.guardrails.verdict import Action, Finding


@dataclass(frozen=True, slots=True)
class Rule:
    """One detector on behalf of one guardrail."""

    guardrail: str
    action: Action
    detector: Detector

    def finding(self) -> Finding:
        """What is told about a match of it."""
        return Finding(self.guardrail, self.action, self.detector.category, self.detector.message)


@dataclass(frozen=True, slots=True)
class Match:
    """Where a rule found something: `text[start:end]`."""

    rule: Rule
    start: int
    end: int


class Scanner:
    """Finds the leftmost match of any rule, and where an unfinished match may begin. Texts are UTF-8.

    One automaton looks for all rules at once, with loose bounds; only where it finds something the rules look
    themselves, at a stretch as long as their longest match.

    Args:
        rules: where two rules match at the same place, the earlier one counts.

    Attributes:
        only_looks: no rule changes a text or stops it, so that nothing has to wait for what is found.
        within: whether anything in any of the texts of a run may be a match; a run is many texts, each between two
            characters that are no part of a word, such as quotes.
        within_or_odd: the same of a request, and whether one of its members is odd (`domain.odd_members`): one look for
            both.

    Raises:
        PatternError: one of the patterns cannot be used.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.only_looks = all(rule.action == "flag" for rule in rules)
        patterns = [rule.detector.pattern for rule in rules]
        self._rules = [(rule, compiled(rule.detector.pattern), _stretch(rule)) for rule in rules]
        self._longest = max(stretch for _, _, stretch in self._rules)
        self._any = compiled("|".join(dict.fromkeys(map(loosened, patterns))))
        self.within = Glance(patterns, known=self._any)
        self.within_or_odd = Glance(patterns, ODD_MEMBERS)
        self._begun = compiled("|".join(dict.fromkeys(map(beginnings, patterns))))

    def suspects(self, text: str) -> bool:
        """Whether anything in a whole text may be a match; quick where, as nearly always, nothing is."""
        return self._any.search(text.encode("utf-8", "replace")) is not None

    def next(self, text: bytes, at: int, before: int) -> Match | None:
        """The leftmost match that begins at `at` or later and in front of `before`; None when there is none."""
        while at < before and (suspect := self._any.search(text, at, before + self._longest)) is not None:
            at = suspect.start()
            if at >= before:
                return None
            if match := self._at(text, at):
                return match
            at += 1
        return None

    def all(self, text: bytes, at: int, before: int) -> Iterator[Match]:
        """The matches that begin between two places, from left to right; none overlaps another."""
        while at < before and (match := self.next(text, at, before)) is not None:
            yield match
            at = match.end

    def across(self, text: bytes, borders: Sequence[int]) -> Iterator[Match | None]:
        """The matches that begin in front of a border and end behind it; None after every step without one.

        Args:
            text: the parts, one behind the other.
            borders: where a part ends and the next one begins, rising.
        """
        at = 0
        while (number := bisect_right(borders, at)) < len(borders):
            at = max(at, borders[number] - self._longest)
            clear = borders[number] + self._longest
            suspect = self._any.search(text, at, clear + self._longest)  # whatever begins before `clear` ends in sight
            at = clear if suspect is None else min(suspect.start(), clear)
            number = bisect_right(borders, at)
            match = self._at(text, at, borders[number]) if number < len(borders) else None
            yield match
            if match is not None:
                at = match.end
            elif at < clear:
                at += 1

    def begun_at(self, text: bytes, at: int) -> int:
        """Where the longest end of the text begins that may become a match with more text; its length for none."""
        found = self._begun.search(text, max(at, len(text) - self._longest))
        return found.start() if found is not None else len(text)

    def _at(self, text: bytes, at: int, border: int = 0) -> Match | None:
        """The first rule's match that begins exactly there, ends behind a border, and passes the detector's check."""
        for rule, pattern, stretch in self._rules:
            if at + stretch <= border:
                continue
            found = pattern.match(text, at, at + stretch)
            if found is None or found.end() <= border:
                continue
            if rule.detector.check is None or rule.detector.check(found.group().decode()):
                return Match(rule, at, found.end())
        return None


def _stretch(rule: Rule) -> int:
    """Bytes of the longest match, and of one character more: a word's border is between two characters."""
    return 4 * (bounded(rule.detector.pattern) + 1)
