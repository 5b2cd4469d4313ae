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
        (
            '{"time": "2026-01-01T08:00:01.5+00:00", "level": "info", "event": "exchange", "status": 200, "gap_s": 0.0, "stream": false, "ttft_s": 0.41612, "upload_s": 2.1e-05, "duration_s": 2.0}',
            "08:00:01 info    exchange status=200 ttft_s=0.416 duration_s=2",
        ),
        (
            '{"time": "2026-01-01T08:00:01.5+00:00", "level": "info", "event": "audit", "ok": false, "detail": ""}',
            "08:00:01 info    audit ok=false",
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
