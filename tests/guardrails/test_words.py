import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.guardrails.detectors import Detector
from appliance.guardrails.prefixes import PatternError, bounded
from appliance.guardrails.scanner import Rule, Scanner
from appliance.guardrails.window import Window
from appliance.guardrails.words import any_word


def found(words: list[str], text: str) -> str:
    window = Window(Scanner([Rule("w", "redact", Detector("k", any_word(words)))]))
    return window.feed(text) + window.finish()


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["falcon"], "Falcon, FALCONS and falcon", "[K], FALCONS and [K]"),
        (["Project Falcon"], "project \n falcon projectfalcon", "[K] projectfalcon"),
        (["c++", "c"], "C++ and c, cc", "[K] and [K], cc"),
        (["fal", "falcon"], "falcon fal falc", "[K] [K] falc"),
        ([".net"], "use .NET, dotnet", "use [K], dotnet"),
        (["Straße", "naïve"], "STRASSE straße Naïve", "STRASSE [K] [K]"),
        (["a|b", "(x)"], "a|b (x) a b x", "[K] [K] a b x"),
    ],
)
def test_words_as_people_mean_them(words: list[str], text: str, expected: str) -> None:
    assert found(words, text) == expected


@settings(max_examples=60)
@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=8), st.text("abc ", max_size=20))
def test_any_list_finds_what_looking_for_each_word_finds(words: list[str], text: str) -> None:
    one_by_one = re.sub(rf"\b(?:{'|'.join(sorted(words, key=len, reverse=True))})\b", "[K]", text)
    assert found(words, text) == one_by_one


def test_a_long_list_is_one_small_pattern() -> None:
    words = [
        f"{first}{second}{number}word" for first in string.ascii_lowercase for second in "xyz" for number in range(20)
    ]
    pattern = any_word(words)
    assert bounded(pattern) == 8
    assert len(pattern) < 10 * len(words)
    assert found(words, "mx7word, mx7words") == "[K], mx7words"


def test_words_that_begin_alike_are_read_up_to_a_hundred_and_refused_beyond() -> None:
    words = ["ab" * times for times in range(1, 102)]
    assert found(words[:100], "ab" * 100) == "[K]"
    for many in (words, ["ab" * times for times in range(1, 1000)]):
        with pytest.raises(PatternError, match="begin alike"):
            any_word([*many, "ab" * 1000 + "c"])
