import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.guardrails.detectors import DETECTORS, Detector
from appliance.guardrails.json_text import JsonText
from appliance.guardrails.scanner import Rule, Scanner

PII = Scanner([Rule("pii", "redact", detector) for detector in DETECTORS.values()])
BLOCKING = Scanner([Rule("pii", "block", detector) for detector in DETECTORS.values()])
SMALL = Scanner([Rule("r", "redact", Detector("ab", "ab{1,3}")), Rule("r", "redact", Detector("n", r"\b4\d{2}\b"))])


def through(scanner: Scanner, text: str, cuts: list[int] | None = None) -> str:
    window = JsonText(scanner)
    edges = sorted({0, *(cut for cut in cuts or [] if cut < len(text)), len(text)})
    return "".join(window.feed(text[start:end]) for start, end in pairwise(edges)) + window.finish()


CASES: list[tuple[str, Any]] = [
    ('{"to": "bob@example.com", "n": 1}', {"to": "[EMAIL]", "n": 1}),
    (r'{"to": "bob\u0040example.com"}', {"to": "[EMAIL]"}),
    (r'{"text": "hello\nbob@example.com\tend"}', {"text": "hello\n[EMAIL]\tend"}),
    ('{"card": 4111111111111111, "n": -1.5e3}', {"card": "[CARD]", "n": -1500.0}),
    ("4111111111111111", "[CARD]"),
    ('{"bob@example.com": [true, null, "x"]}', {"[EMAIL]": [True, None, "x"]}),
    (r'{"smile": "\ud83d\ude00 \u00e9 bob@example.com"}', {"smile": "😀 é [EMAIL]"}),
    (r'"C:\\dir\\\"quoted\" 1.2.3.4"', 'C:\\dir\\"quoted" [IP]'),
]


@pytest.mark.parametrize(("text", "meaning"), CASES)
def test_json_stays_json_whatever_the_cuts(text: str, meaning: Any) -> None:
    whole = through(PII, text)
    assert json.loads(whole) == meaning
    for cut in range(len(text)):
        assert through(PII, text, [cut]) == whole
    assert through(PII, text, list(range(len(text)))) == whole


@pytest.mark.parametrize(
    "text",
    [
        "{not json, mail bob@example.com}",
        '{"a": 4111 1111 1111 1111}',
        '{"a": "unfinished bob@example.com',
        '{"a": 1} and then bob@example.com',
        "[text](mailto:bob@example.com)",
        '{"a": 41111111111111111111111 1.2.3.4',
    ],
)
def test_what_is_no_json_is_looked_at_all_the_same(text: str) -> None:
    whole = through(PII, text)
    assert "[" in whole.replace("[text]", "")
    assert not any(secret in whole for secret in ("bob@", "4111 1111", "1.2.3.4"))
    for cut in range(len(text)):
        assert through(PII, text, [cut]) == whole
    assert through(PII, text, list(range(len(text)))) == whole


@pytest.mark.parametrize(("text", "_"), CASES)
def test_a_block_ends_it_without_the_match(text: str, _: Any) -> None:
    for cut in range(len(text)):
        window = JsonText(BLOCKING)
        out = window.feed(text[:cut]) + window.feed(text[cut:]) + window.finish()
        assert window.block is not None
        assert not any(secret in out for secret in ("bob", "4111", "1.2"))
        assert window.feed("more") == ""


values = st.recursive(
    st.none() | st.booleans() | st.integers(-500, 500) | st.text('ab\\"\n😀é ', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def redacted(value: Any) -> Any:
    """The same, done the slow way."""
    if isinstance(value, dict):
        return {redacted(key): redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        for size in (4, 3, 2):
            value = value.replace("ab" + "b" * (size - 2), "[AB]")
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= abs(value) <= 499:
        return "[N]" if value > 0 else "-[N]"  # the sign is in front of the word's border
    return value


@given(value=values, ascii_only=st.booleans(), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_every_value_comes_out_as_the_same_value_redacted(value: Any, ascii_only: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    out = through(SMALL, text, cuts)
    assert out == through(SMALL, text)
    assert json.loads(out) == redacted(value)


@given(text=st.text('ab4 {}[]:,"\\u0061n1-', max_size=30), cuts=st.lists(st.integers(0, 30), max_size=6))
def test_any_text_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    assert through(SMALL, text, cuts) == through(SMALL, text)


def test_text_that_a_cut_leaves_open_waits_as_little_as_possible() -> None:
    window = JsonText(PII)
    assert window.feed('{"city": "Paris", "n": 12') == '{"city": "Paris", "n": '
    assert window.feed("3}") == "123}"
    assert window.pause() == ""


@pytest.mark.parametrize("size", [399, 400, 401, 450])
def test_a_number_longer_than_any_is_the_same_however_it_is_cut(size: int) -> None:
    text = f"[{'7' * size}, 4111111111111111]"
    whole = through(PII, text)
    assert "4111" not in whole
    for cut in (1, 300, size, size + 1, size + 2):
        assert through(PII, text, [cut]) == whole
