from appliance.guardrails.detectors import Detector
from appliance.guardrails.scanner import Match, Rule, Scanner


def rule(pattern: str, name: str = "r") -> Rule:
    return Rule(name, "flag", Detector("thing", pattern))


AB, B = rule(r"ab{1,3}", "ab"), rule(r"b", "b")


def test_the_leftmost_match_counts() -> None:
    assert Scanner([B, AB]).next(b"xabb", 0, 4) == Match(AB, 1, 4)


def test_at_one_place_the_earlier_rule_counts() -> None:
    first, second = rule(r"ab", "first"), rule(r"abc", "second")
    assert Scanner([first, second]).next(b"abc", 0, 3) == Match(first, 0, 2)


def test_only_what_begins_in_the_given_part_counts() -> None:
    scanner = Scanner([B])
    assert scanner.next(b"bxb", 1, 2) is None
    assert scanner.next(b"bxb", 1, 3) == Match(B, 2, 3)


def test_a_failed_check_is_no_match_and_hides_no_other() -> None:
    even = Rule("even", "flag", Detector("even", r"\d{2}", lambda text: int(text) % 2 == 0))
    assert Scanner([even]).next(b"1234", 0, 4) == Match(even, 0, 2)
    assert Scanner([even]).next(b"1356", 0, 4) == Match(even, 2, 4)
    other = rule(r"13", "other")
    assert Scanner([even, other]).next(b"13", 0, 2) == Match(other, 0, 2)


def test_a_border_sees_the_character_in_front_and_behind() -> None:
    word = rule(r"\bfoo\b")
    scanner = Scanner([word])
    assert scanner.next(b"xfoo", 1, 4) is None
    assert scanner.next(b"foox", 0, 4) is None
    assert scanner.next(b" foo ", 1, 5) == Match(word, 1, 4)


def test_where_an_unfinished_match_begins() -> None:
    scanner = Scanner([AB])
    assert scanner.begun_at(b"xxa", 0) == 2
    assert scanner.begun_at(b"xxabb", 0) == 2
    assert scanner.begun_at(b"xxabbb", 0) == 2  # whether it is finished is not asked here
    assert scanner.begun_at(b"xxabbbb", 0) == 7
    assert scanner.begun_at(b"a", 1) == 1


def test_matches_of_many_bytes() -> None:
    umlauts = rule("ü{1,3}x")
    text = "aüüx".encode()
    assert Scanner([umlauts]).next(text, 0, len(text)) == Match(umlauts, 1, len(text))


def test_a_run_of_texts_is_suspected_wherever_the_suspicious_one_stands() -> None:
    scanner = Scanner([rule(r"^ab$")])
    assert scanner.within.suspects('{"a":"x","b":"ab"}')
    assert not scanner.within.suspects('{"a":"x","b":"b"}')
    assert not scanner.suspects("x\nab")  # a text of its own has a beginning
