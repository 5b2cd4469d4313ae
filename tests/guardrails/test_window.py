from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.guardrails.detectors import DETECTORS, Detector
from appliance.guardrails.scanner import Rule, Scanner
from appliance.guardrails.window import PIECE, Open, Window, pieces

PII = Scanner([Rule("pii", "redact", detector) for detector in DETECTORS.values()])
BLOCKING = Scanner([Rule("pii", "block", detector) for detector in DETECTORS.values()])
SMALL = Scanner(
    [
        Rule("one", "redact", Detector("abc", "abc{1,2}")),
        Rule("two", "redact", Detector("ab", "ab")),
        Rule("three", "flag", Detector("even", "[0-9]{2,4}", lambda text: int(text) % 2 == 0)),
        Rule("three", "redact", Detector("word", r"(?i:\bcab\b)")),
    ]
)
SECRETIVE = [
    "mail bob.smith@example.co.uk or call +49 30 1234567, card 4111 1111 1111 1111!",
    "iban DE89 3704 0044 0532 0130 00 and 1.2.3.4 and ssn 536-22-8726 x",
    "fe80::1ff:fe23:4567:890a; key sk-abcdefghijklmnopqrstuvwxyz123 end; order 1234567890123456",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nabc=\n-----END RSA PRIVATE KEY-----\nbye AB 12 34 56 C",
]


def whole(scanner: Scanner, text: str) -> tuple[str, list[str]]:
    window = Window(scanner)
    out = window.feed(text) + window.finish()
    return out, sorted(finding.category for finding in window.findings)


def split(scanner: Scanner, text: str, cuts: list[int]) -> tuple[str, list[str]]:
    window = Window(scanner)
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    out = "".join(window.feed(text[start:end]) for start, end in pairwise(edges)) + window.finish()
    return out, sorted(finding.category for finding in window.findings)


@given(text=st.text(alphabet="abcC 0123", max_size=24), cuts=st.lists(st.integers(0, 24), max_size=8))
def test_what_comes_out_does_not_depend_on_the_cuts(text: str, cuts: list[int]) -> None:
    assert split(SMALL, text, cuts) == whole(SMALL, text)


@given(text=st.text(alphabet="abcC 0123", max_size=24))
def test_a_text_without_any_suspicion_comes_out_as_it_is(text: str) -> None:
    if not SMALL.suspects(text):
        assert whole(SMALL, text) == (text, [])


@pytest.mark.parametrize("text", SECRETIVE)
def test_what_is_secret_is_suspected(text: str) -> None:
    assert PII.suspects(text)
    assert not PII.suspects("The quick brown fox jumps over the lazy dog.")


@pytest.mark.parametrize("text", SECRETIVE)
def test_nothing_leaks_across_any_cut(text: str) -> None:
    expected = whole(PII, text)
    assert "[" in expected[0]
    for cut in range(len(text)):
        assert split(PII, text, [cut]) == expected
    assert split(PII, text, list(range(len(text)))) == expected


@pytest.mark.parametrize("text", SECRETIVE)
def test_a_block_lets_nothing_of_its_match_out_and_nothing_after_it(text: str) -> None:
    before = whole(PII, text)[0].split("[")[0]
    for cut in range(len(text)):
        window = Window(BLOCKING)
        out = window.feed(text[:cut]) + window.feed(text[cut:]) + window.finish()
        assert out == before
        assert window.block is not None
        assert window.block.guardrail == "pii"
        assert window.feed("more") == ""


def test_an_ordinary_text_waits_for_its_last_word_only() -> None:
    window = Window(PII)
    assert window.feed("The quick brown ") == "The quick brown "
    assert window.feed("fox") == ""  # fox@example.com
    assert window.waiting == 3
    assert window.feed(" jumps") == "fox "
    assert window.finish() == "jumps"
    assert window.waiting == 0


def test_what_waits_is_bounded_whatever_comes() -> None:
    window = Window(PII)
    for _ in range(40):
        window.feed("a" * 1000)
    assert window.waiting <= 20_000


def test_characters_of_many_bytes_stay_whole() -> None:
    text = "grüße 🎉 an bob@example.com — danke 🎉"
    for cut in range(len(text)):
        assert split(PII, text, [cut])[0] == "grüße 🎉 an [EMAIL] — danke 🎉"


def test_findings_are_counted_by_kind() -> None:
    window = Window(PII)
    window.feed("a@b.io, c@d.io, 1.1.1.1 ")
    assert {finding.category: count for finding, count in window.findings.items()} == {"email": 2, "ip": 1}


def test_a_lone_surrogate_is_not_an_error() -> None:
    assert whole(PII, "a \ud800 b")[0] == "a ? b"


def test_a_long_text_in_pieces_is_the_same_text() -> None:
    text = "ab" * PIECE
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text))) == PIECE
    assert list(pieces("")) == []


def test_what_waits_leaves_at_a_pause_and_is_decided_as_if_it_were_the_end() -> None:
    window = Window(PII)
    assert window.feed("mail bob@example.com") == "mail "
    assert window.pause() == "[EMAIL]"
    assert (window.waiting, window.pause()) == (0, "")
    assert window.feed(" and then") + window.finish() == " and then"
    assert list(window.findings.values()) == [1]


@pytest.mark.parametrize("text", SECRETIVE)
def test_a_match_around_a_pause_is_found_when_its_end_comes(text: str) -> None:
    """The first part of it has left, as nobody could know; nothing behind the pause does."""
    for cut in range(1, len(text)):
        window = Window(BLOCKING)
        first = window.feed(text[:cut]) + window.pause()
        if window.block is None:
            assert first == text[:cut]
        rest = window.feed(text[cut:]) + window.finish()
        assert window.block is not None
        assert text.startswith(first + rest)


@given(text=st.text(alphabet="abcC 0123", max_size=24), cuts=st.lists(st.integers(0, 24), max_size=4))
def test_a_pause_loses_nothing_of_a_text_in_which_nothing_is_found(text: str, cuts: list[int]) -> None:
    flagging = Scanner([Rule("f", "flag", Detector("abc", "abc{1,2}"))])
    window, out = Window(flagging), ""
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    for start, end in pairwise(edges):
        out += window.feed(text[start:end]) + window.pause()
        assert out == text[:end]
    assert out + window.finish() == text


def test_nobody_looks_through_an_open_window() -> None:
    window = Open()
    assert (window.feed("bob@example.com"), window.pause(), window.finish(), window.block) == (
        "bob@example.com",
        "",
        "",
        None,
    )
