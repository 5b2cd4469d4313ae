"""A text in parts: what a border cuts in two is found as in one piece."""

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.guardrails.detectors import Detector
from appliance.guardrails.parts import Parts
from appliance.guardrails.scanner import Rule, Scanner
from appliance.guardrails.window import PIECE, Window
from appliance.guardrails.words import any_word
from tests.guardrails.test_window import BLOCKING, PII, SECRETIVE, SMALL


def cut(text: str, *cuts: int) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def looked(scanner: Scanner, texts: list[str]) -> Parts:
    parts = Parts(scanner, texts)
    for _ in parts.look():
        pass
    return parts


def redacted(text: str) -> str:
    window = Window(PII)
    return window.feed(text) + window.finish()


def remains(seen: str, text: str) -> list[str]:
    """What is left of the secrets of a text that was redacted in some way."""
    kept = re.split(r"\[[A-Z_]+\]", redacted(text))
    secrets = text
    for one in sorted(kept, key=len, reverse=True):
        secrets = secrets.replace(one, "\0", 1)
    return [secret for secret in secrets.split("\0") if secret and secret in seen]


@pytest.mark.parametrize("text", SECRETIVE)
def test_no_secret_passes_at_any_split(text: str) -> None:
    for at in range(1, len(text)):
        parts = looked(PII, cut(text, at))
        assert parts.findings
        seen = "".join(parts.texts())
        assert seen == redacted(text) or not remains(seen, text)


@pytest.mark.parametrize("secret", ["bob@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"])
def test_nothing_of_a_secret_passes_at_any_two_splits_and_the_rest_stays_in_its_parts(secret: str) -> None:
    text = f"It is {secret}, is it?"
    begin, end = 6, 6 + len(secret)
    for cuts in combinations(range(1, len(text)), 2):
        texts = looked(PII, cut(text, *cuts)).texts()
        assert "".join(texts) == redacted(text)
        edges = [0, *cuts, len(text)]
        for (start, stop), before, after in zip(pairwise(edges), cut(text, *cuts), texts, strict=True):
            if stop <= begin or start >= end:
                assert after == before
            elif start > begin:
                assert after == text[end:stop]


@pytest.mark.parametrize("text", SECRETIVE)
def test_a_secret_in_parts_of_one_character_is_found(text: str) -> None:
    assert "".join(looked(PII, list(text)).texts()) == redacted(text)


@pytest.mark.parametrize("text", SECRETIVE)
def test_a_block_blocks_at_any_split(text: str) -> None:
    for at in range(1, len(text)):
        block = looked(BLOCKING, cut(text, at)).block
        assert block is not None
        assert block.guardrail == "pii"


@given(text=st.text(alphabet="abcC 0123", max_size=24), cuts=st.lists(st.integers(0, 24), max_size=8))
def test_whatever_is_found_in_the_whole_and_cut_in_two_is_found_in_parts(text: str, cuts: list[int]) -> None:
    edges = sorted(min(at, len(text)) for at in cuts)
    window = Window(SMALL)
    window.feed(text)
    window.finish()
    parts = looked(SMALL, cut(text, *edges))
    alone = {finding for part in cut(text, *edges) for finding in looked(SMALL, [part]).findings}
    assert set(window.findings) <= set(parts.findings) | alone
    assert alone <= set(parts.findings)
    if not parts.findings:
        assert parts.texts() == cut(text, *edges)


def test_each_part_is_a_text_of_its_own_as_well() -> None:
    """Some engines write a new line between two parts."""
    parts = looked(PII, ["number 5", "536-22-8726", "7 and 4111 1111 1111 1111", "1"])
    assert parts.texts() == ["number 5", "[NATIONAL_ID]", "7 and [CARD]", "1"]


def test_what_only_a_new_line_between_two_parts_makes_is_found() -> None:
    phrases = Detector("keyword", any_word(["secret project", "blue moon"]))
    scanner = Scanner([Rule("w", "redact", phrases)])
    parts = looked(scanner, ["a secret", "project in a blue ", "moon", "light secret", "project"])
    assert parts.texts() == ["a [KEYWORD]", " in a [KEYWORD]", "", "light [KEYWORD]", ""]
    assert list(parts.findings.values()) == [3]


def test_what_is_found_alone_and_longer_with_the_next_part_is_taken_out_once() -> None:
    assert looked(PII, ["to bob@example.co", "m."]).texts() == ["to [EMAIL]", "."]


def test_far_from_any_border_everything_is_found_as_well_and_others_have_their_turns() -> None:
    filler = "The tide comes in. " * 4000
    parts = Parts(PII, [f"{filler}a@example.com {filler}bob@exa", "", f"mple.com {filler}", "1" * 9000, "2" * 9000])
    assert sum(1 for _ in parts.look()) > len(filler) * 3 // PIECE
    assert parts.texts()[:3] == [f"{filler}[EMAIL] {filler}[EMAIL]", "", f" {filler}"]


def test_what_lies_across_two_pieces_of_a_part_is_counted_once() -> None:
    for before in range(PIECE - 16, PIECE + 1):
        parts = looked(PII, [" " * before + "a.b.c.d@example.com ", "and"])
        assert list(parts.findings.values()) == [1]


def test_no_parts_are_never_a_finding() -> None:
    assert looked(PII, ["", ""]).texts() == ["", ""]
