"""The `/metrics` page of a scripted engine, in the names of the one it imitates."""

from typing import Literal


def exposition(
    style: Literal["llama.cpp", "vllm"], model: str, *, running: int, waiting: int, prompt: int, generated: int
) -> bytes:
    """The page as Prometheus reads it.

    Args:
        style: whose names.
        model: the label that vLLM gives.
        running: requests being answered.
        waiting: requests without a place yet.
        prompt: tokens read so far.
        generated: tokens written so far.
    """
    rows = (
        (
            ("vllm:num_requests_running", "gauge", running),
            ("vllm:num_requests_waiting", "gauge", waiting),
            ("vllm:prompt_tokens_total", "counter", prompt),
            ("vllm:generation_tokens_total", "counter", generated),
        )
        if style == "vllm"
        else (
            ("llamacpp:requests_processing", "gauge", running),
            ("llamacpp:requests_deferred", "gauge", waiting),
            ("llamacpp:prompt_tokens_total", "counter", prompt),
            ("llamacpp:tokens_predicted_total", "counter", generated),
        )
    )
    labels = f'{{engine="0",model_name="{model}"}}' if style == "vllm" else ""
    return "".join(f"# TYPE {name} {kind}\n{name}{labels} {value}\n" for name, kind, value in rows).encode()
