import pytest

from appliance.console.views.forms import FormError, limits, table, words


def test_words_have_commas_or_line_ends_between_them() -> None:
    assert words(" a, b\r\nc ,,\n") == ["a", "b", "c"]


def test_limits_are_digits_or_nothing() -> None:
    assert limits({"limit_concurrent": " 4 ", "limit_tokens_per_day": "2_000,000", "limit_x": "no"}) == {
        "concurrent": 4,
        "tokens_per_day": 2_000_000,
    }
    assert limits({"limit_concurrent": " "}) is None
    for text in ("lots", "-1", "1.5", "²", "9" * 16):
        with pytest.raises(FormError, match="Write digits") as caught:
            limits({"limit_concurrent": text})
        assert caught.value.field == "limit_concurrent"


def test_fields_of_requests_are_lines_of_toml() -> None:
    assert table({"defaults": "temperature = 0.7\r\nstop = ['a']\r\n"}, "defaults") == {
        "temperature": 0.7,
        "stop": ["a"],
    }
    with pytest.raises(FormError, match="one field a line"):
        table({"defaults": "temperature: 0.7"}, "defaults")
