import pytest

from appliance.guardrails.detectors import DETECTORS
from appliance.guardrails.prefixes import LONGEST, bounded
from appliance.guardrails.scanner import Rule, Scanner

ALL = Scanner([Rule("pii", "flag", detector) for detector in DETECTORS.values()])


def found(text: str) -> list[tuple[str, str]]:
    raw, at, matches = text.encode(), 0, []
    while (match := ALL.next(raw, at, len(raw))) is not None:
        matches.append((match.rule.detector.category, raw[match.start : match.end].decode()))
        at = match.end
    return matches


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("email", "bob.smith+tag@mail.example.co.uk"),
        ("email", "a@b.io"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("card", "378282246310005"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432"),
        ("national_id", "536-22-8726"),
        ("national_id", "86 095 742 719"),
        ("national_id", "12345678Z"),
        ("national_id", "RSSMRA85T10A562S"),
        ("national_id_uk", "AB 12 34 56 C"),
        ("national_id_nl", "BSN: 111222333"),
        ("phone", "+49 30 1234567"),
        ("phone", "(415) 555-0132"),
        ("phone", "+1-415-555-0132"),
        ("ip", "192.168.178.20"),
        ("ip", "2001:db8:85a3::8a2e:370:7334"),
        ("secret", "sk-abcdefghijklmnopqrstuvwxyz0123"),
        ("secret", "AKIAIOSFODNN7EXAMPLE"),
        ("secret", "ghp_" + "a1" * 18),
        ("secret", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnopqrstuv"),
        ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----"),
        ("secret", "-----BEGIN PRIVATE KEY-----\nMIIEow"),
    ],
)
def test_what_it_finds(category: str, text: str) -> None:
    assert found(f"so, {text}, he said") == [(category, text)]


@pytest.mark.parametrize(
    "text",
    [
        "the order 1234567890123456 of 2026-11-24 12:30:45",
        "std::vector<int> a::b",
        "version 1.2.3.4444 or 300.1.1.1",
        "4111 1111 1111 1112",
        "DE00 3704 0044 0532 0130 00",
        "000-12-3456",
        "0000 0000 0000 0000",
        "user@localhost",
        "see https://example.com/a/b?c=d#e",
        "x = 3.14159265358979; y = 2.718281828",
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("category", DETECTORS)
def test_every_detector_is_bounded_and_says_what_stands_in_its_place(category: str) -> None:
    detector = DETECTORS[category]
    assert bounded(detector.pattern) <= LONGEST
    assert detector.placeholder == f"[{category.upper()}]"
