import itertools
import re
import sys
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from appliance.guardrails.detectors import DETECTORS
from appliance.guardrails.engines import Glance, compiled
from appliance.guardrails.prefixes import PatternError
from appliance.guardrails.words import any_word

LETTERS = 'aAbkKsS\u017f\u212a1_9ä€🎉 \t\n\v\f\r\x1c\xa0\u2028\0-."\\'  # with a second k and s, and spaces that are none to all
MEMBERS = [r"\d", r"\D", r"\s", r"\S", r"\w", r"\W", "a-k", "S", "ä-€", r"\-", r"\n", "9"]
classes = st.builds(
    lambda negated, members: f"[{negated}{''.join(members)}]",
    st.sampled_from(["", "^"]),
    st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=3),
)
single = st.sampled_from(LETTERS).map(re.escape) | st.sampled_from([*MEMBERS[:6], ".", r"\x41", "(?i:k)", "(?i:S)"])
places = st.sampled_from([r"\b", r"\B", "^", "$", r"\A"])


def repeated(pattern: str, times: str) -> str:
    return f"(?:{pattern}){times}"


patterns = st.recursive(
    classes | single,
    lambda inner: (
        st.lists(inner | places, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda several: f"(?:{'|'.join(several)})")
        | st.builds(repeated, inner, st.sampled_from(["?", "{2}", "{1,3}", "{0,50}", "*?"]))
        | st.builds(lambda flag, pattern: f"(?{flag}:{pattern})", st.sampled_from(["i", "s", "is"]), inner)
    ),
    max_leaves=6,
)


@given(pattern=patterns, text=st.text(alphabet=LETTERS, max_size=12))
def test_what_re2_finds_is_suspected(pattern: str, text: str) -> None:
    if compiled(pattern).search(text) is not None:
        assert Glance([pattern]).suspects(text)


@pytest.mark.parametrize("category", MEMBERS[:6])
def test_a_class_has_the_same_characters_in_both(category: str) -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000), 0x1F389, sys.maxunicode]))
    glance = Glance([category])
    wanted = set(re2.findall(category, everything))
    assert {character for character in everything if glance.suspects(character)} == wanted


def test_a_letter_in_any_case_is_the_same_in_both() -> None:
    cased = "".join(
        character
        for character in map(chr, [*range(0xD800), *range(0xE000, 0x20000)])
        if len({character.lower(), character.upper(), character.casefold(), character.title()}) > 1
    )
    assert len(cased) > 2500
    for letter in cased:
        glance = Glance([f"(?i:{letter})"])
        for other in re2.findall(f"(?i:{letter})", cased):
            assert glance.suspects(other), (letter, other)


@pytest.mark.parametrize("negated", ["", "^"])
@pytest.mark.parametrize("flags", ["i", ""])
def test_classes_in_any_case_have_no_fewer_characters(flags: str, negated: str) -> None:
    characters = [*map(chr, range(0x180)), "\u017f", "\u212a", "\u212b", "ς", "🎉"]
    for members in itertools.combinations([*MEMBERS, "\u017f", "\u212a", "ß", "å"], 2):
        pattern = f"(?{flags}:[{negated}{''.join(members)}])"
        glance = Glance([pattern])
        found = set(re2.findall(pattern, "".join(characters)))
        assert [character for character in characters if character in found and not glance.suspects(character)] == []


@pytest.mark.parametrize("character", [*map(chr, range(128)), "ä", "€", "🎉"])
def test_a_character_stands_for_itself(character: str) -> None:
    for pattern in (re.escape(character), f"[{re.escape(character)}]", f"[^{re.escape(character)}]{{2}}x"):
        found = Glance([pattern])
        for text in (f"-{character}-", "--x", f"{character}x", ""):
            assert found.suspects(text) == (compiled(pattern).search(text) is not None)


SHORT, LONG = "nothing to see here, ", "nothing to see here, " * 400
WORDS = [f"word{number:05}x" for number in range(20_000)]


@pytest.mark.parametrize("count", [10, 5_000, 20_000])  # more than a few are left to RE2
@pytest.mark.parametrize("text", [SHORT, LONG])
def test_a_glance_sees_the_same_whichever_engine_takes_it(count: int, text: str) -> None:
    glance = Glance([detector.pattern for detector in DETECTORS.values()] + [any_word(WORDS[:count])], ['"prompt'])
    assert not glance.suspects(text)
    for suspicious in ("write to a@b.example", f"a {WORDS[count - 1]}", '{"prompt":1}', "€ 4111 1111 1111 1111"):
        assert glance.suspects(text + suspicious)
        assert glance.suspects(suspicious + f" {text}")


def test_what_the_quick_engine_does_not_take_is_left_to_re2() -> None:
    glance = Glance(["b"], [r"\Qa.\E"])  # what only RE2 can read
    assert not glance.suspects("ac")
    assert glance.suspects("ba.")
    assert glance.suspects("b")


@pytest.mark.parametrize("pattern", [r"(", r"(?=a)", "a{1001}"])
def test_what_re2_cannot_read_is_refused(pattern: str) -> None:
    for engine in (compiled, lambda text: Glance([text])):
        refusing: Any = engine
        with pytest.raises(PatternError):
            refusing(pattern)
