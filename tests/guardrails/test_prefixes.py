import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from appliance.guardrails.prefixes import (
    LONGEST,
    PatternError,
    anywhere,
    anywhere_in_rust,
    beginnings,
    bounded,
    loosened,
)

PATTERNS = [
    r"foo",
    r"\bfoo(?:bar|baz){1,3}\b",
    r"[a-c]{1,4}@(?:[a-c]{1,2}\.){1,3}b",
    r"(?i:ab)c?[^a]{2}",
    r"a{3,5}|b.c",
    r"(?i)a(b)c",
    r"a(?:b|c(?:a|b){2}){0,2}c",
    r"[^ab]{2,50}a",
    r"\d\s\w{1,2}",
]
texts = st.text(alphabet="abcABCfooz@. 1", max_size=12)


def holds(pattern: str, text: str) -> bool:
    return re2.compile(rf"(?:{pattern})\z").match(text) is not None


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=texts)
def test_every_beginning_of_every_match_is_one(pattern: str, text: str) -> None:
    begun = beginnings(pattern)
    for match in re.finditer(pattern, text, re.ASCII):
        for end in range(match.start(), match.end() + 1):
            # Looked at in its place: a border of a word needs to see what is in front.
            found = re2.compile(rf"(?:{begun})\z").search(text[:end], match.start())
            assert found is not None
            assert found.start() == match.start()


@pytest.mark.parametrize(
    ("pattern", "begins", "does_not"),
    [
        (r"foo", ["", "f", "fo", "foo"], ["o", "fooo", "x"]),
        (r"[0-9]{3,5}", ["1", "12345"], ["a", "123456"]),
        (r"a(?:b|cd)e", ["ac", "ab", "acde"], ["ad", "e"]),
        (r"(?i:ab)c", ["A", "aB", "ABc"], ["ABC"]),
        (r"(?i)abc", ["AB"], ["BA"]),
        (r"(?s:a.b)", ["a\n"], []),
        (r"[^\]a]x", ["b", "bx"], ["]", "a"]),
    ],
)
def test_beginnings_of(pattern: str, begins: list[str], does_not: list[str]) -> None:
    begun = beginnings(pattern)
    assert all(holds(begun, text) for text in begins)
    assert not any(holds(begun, text) for text in does_not)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=texts)
def test_a_loosened_pattern_finds_no_less(pattern: str, text: str) -> None:
    if (match := re.search(pattern, text, re.ASCII)) is not None:
        found = re2.compile(loosened(pattern)).search(text)
        assert found is not None
        assert found.start() <= match.start()


PLACED = [r"^ab$", r"(?m)^ab$", r"\A(?:a|^b){1,2}", r"(?:^|c)a\b", r"(?:a$|b)c?"]


@pytest.mark.parametrize("pattern", [*PATTERNS, *PLACED])
@given(text=st.text(alphabet="abc\n ", max_size=6), around=st.tuples(*[st.sampled_from(['"', ' "', '"a"', '","'])] * 2))
def test_what_is_in_a_text_is_found_wherever_the_text_stands(pattern: str, text: str, around: tuple[str, str]) -> None:
    if re2.search(pattern, text) is not None:
        before, behind = around
        assert re2.compile(anywhere(pattern)).search(f'{before}"{text}"{behind}') is not None


@pytest.mark.parametrize("pattern", PLACED)
@given(text=st.text(alphabet="abc\n ", max_size=6))
def test_where_a_line_begins_and_ends_means_the_same_in_a_loosened_pattern(pattern: str, text: str) -> None:
    found, wanted = re2.search(loosened(pattern), text), re2.search(pattern, text)
    assert (found and found.span()) == (wanted and wanted.span())


def test_high_bounds_are_left_out_of_the_loosened_pattern() -> None:
    assert holds(loosened(r"a{2,900}"), "a" * 1000)
    assert not holds(loosened(r"a{2,9}"), "a" * 10)


def test_the_longest_match_is_known() -> None:
    assert bounded(r"\bab{1,3}c?\b") == 5


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"a*", "empty text"),
        (r"a+", f"longer than {LONGEST}"),
        (r"(", "not a regular expression"),
        (r"[[:digit:]]{3}", "class inside a class"),
        (r"a{,3}b", "write {0,9}"),
        ("(" * 101 + "a" + ")" * 101, "100 brackets"),
        ("(" * 9999 + "a" + ")" * 9999, "not a regular expression"),
    ],
)
def test_what_has_no_bounds_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        bounded(pattern)


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", r"(?<!a)b", r"a{1,1001}"])
def test_what_re2_does_not_have_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        beginnings(pattern)


def test_a_long_row_and_many_brackets_are_read() -> None:
    for pattern, text in (("ab" * (LONGEST // 2), "ab" * (LONGEST // 2)), ("(" * 100 + "a" + ")" * 100, "a")):
        assert bounded(pattern) == len(text)
        for written in (beginnings(pattern), loosened(pattern), anywhere(pattern), anywhere_in_rust(pattern)):
            assert holds(written.replace("(?-u:", "(?:"), text)
