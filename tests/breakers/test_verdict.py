import pytest

from appliance.breakers.verdict import Verdict, verdict


@pytest.mark.parametrize(
    ("outcome", "status", "code", "engine", "expected"),
    [
        ("ok", 200, "", "vllm", "good"),
        ("error", 502, "backend_unreachable", "vllm", "bad"),
        ("error", 502, "backend_died", "llama.cpp", "bad"),
        ("error", 504, "backend_timeout", "vllm", "bad"),
        ("error", 200, "stream_truncated", "vllm", "bad"),
        ("error", 503, "model_loading", "vllm", "nothing"),
        ("error", 400, "guardrail_block", "vllm", "nothing"),
        ("error", 503, "queue_timeout", "llama.cpp", "nothing"),
        ("client_gone", 499, "", "vllm", "nothing"),
        ("backend_error", 400, "", "vllm", "nothing"),
        ("backend_error", 429, "", "openai", "nothing"),
        ("backend_error", 500, "", "vllm", "bad"),
        ("backend_error", 500, "", "llama.cpp", "nothing"),
        ("backend_error", 501, "", "llama.cpp", "nothing"),
        ("backend_error", 502, "", "openai", "bad"),
        ("backend_error", 503, "", "vllm", "nothing"),
        ("backend_error", 503, "", "openai", "bad"),
        ("backend_error", 504, "", "llama.cpp", "bad"),
        ("backend_error", 500, "", "unheard of", "bad"),
    ],
)
def test_what_an_end_says(outcome: str, status: int, code: str, engine: str, expected: str) -> None:
    assert verdict(outcome, status, code, engine) is Verdict(expected)
