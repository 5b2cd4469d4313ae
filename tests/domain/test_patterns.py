import pytest

from appliance.domain.patterns import covers


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "anything/at all", True),
        ("basics-*", "basics-chat", True),
        ("basics-*", "basic", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("m[1]", "m[1]", True),
        ("m[1]*", "m[1]x", True),
        ("m?", "mx", False),
        ("m", "m", True),
        ("m", "mm", False),
        ("", "", True),
        ("", "m", False),
    ],
)
def test_only_the_star_stands_for_something_else(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) is expected
