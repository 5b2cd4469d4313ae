import pytest

from appliance.console.views import logs


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("llama_model_load: done", "llama_model_load: done"),
        (
            '{"time": "2026-01-01T08:00:01.5+00:00", "level": "info", "logger": "x", "event": "exchange", "key": "a", "status": 200, "target": "", "ok": true}',
            "08:00:01 info    exchange key=a status=200 ok=true",
        ),
        ('{"not": "ours"}', '{"not": "ours"}'),
        ("{broken", "{broken"),
    ],
)
def test_lines_of_ours_read_like_sentences_and_others_stay(line: str, text: str) -> None:
    assert logs.readable(line) == text


def test_the_log_that_is_shown_can_be_chosen_again() -> None:
    assert logs.values("m", ["n", "m@1"], ["x"]) == {"chosen": "m", "replicas": ["m", "m@1", "n"], "lines": ["x"]}
    assert logs.values("", ["n"], [])["replicas"] == ["n"]
