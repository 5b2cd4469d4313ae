"""What an engine that is loading says about how far it is. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of loading.

    Attributes:
        name: for people.
        percent: of this stage, 0 to 100; None when it does not say.
    """

    name: str
    percent: float | None = None


# A line of an engine's log -> what it is doing. The first group, if any, is the percentage.
_VLLM = (
    (r"Loading (?:safetensors|pt|bin) checkpoint shards:\s+(\d+)%", "loading weights"),
    (r"Loading weights took|Model loading took", "weights loaded"),
    (r"Starting to load model|Loading model from scratch|Loading weights", "loading weights"),
    (r"Capturing CUDA graphs?.*?(\d+)%", "capturing CUDA graphs"),
    (r"Capturing|Graph capturing", "capturing CUDA graphs"),
    (r"torch\.compile|Dynamo bytecode|Compiling a graph|Inductor|compile range", "compiling"),
    (
        r"Initial profiling|profiling|Available KV cache memory|GPU KV cache size|CPU KV cache|Maximum concurrency",
        "sizing the cache",
    ),
    (r"warming up|warmup|Warming up", "warming up"),
    (r"init engine|Initializing a V1 LLM engine", "starting the engine"),
    (
        r"Started server process|Waiting for application startup|Application startup complete|Starting vLLM server",
        "starting the server",
    ),
    (
        r"vLLM API server version|non-default args|Resolved architecture|Automatically detected platform",
        "reading the model",
    ),
)
_LLAMA = (
    (r"load_tensors:|llama_model_loader:|print_info:|load: ", "loading weights"),
    (r"load_model: loading model|loading model", "loading weights"),
    (r"llama_context:|llama_kv_cache|sched_reserve|graph_reserve", "making the context"),
    (r"warming up the model|threadpool init", "warming up"),
    (r"model loaded|server is listening|listening on", "starting the server"),
)
_ANY = (
    (r"\b(100|\d{1,2})(?:\.\d+)?\s?%", "loading"),
    (r"(?i)\bloading\b", "loading"),
    (r"(?i)\bwarming up\b|\bwarm-?up\b", "warming up"),
)
_TABLES = {
    engine: tuple((re.compile(pattern), name) for pattern, name in rows)
    for engine, rows in (("vllm", _VLLM), ("llama.cpp", _LLAMA), ("command", (*_VLLM, *_LLAMA, *_ANY)))
}
_DOTS = re.compile(r"\.{3,}")


def stage_of(engine: str, line: str) -> Stage | None:
    """The stage that a line of a log speaks of; None when it speaks of none."""
    if engine == "llama.cpp" and (dots := _DOTS.fullmatch(line.strip())):
        return Stage("loading weights", float(min(len(dots[0]), 100)))  # llama-server prints a hundred dots
    for pattern, name in _TABLES.get(engine, _TABLES["command"]):
        found = pattern.search(line)
        if found is not None:
            percent = float(found[1]) if found.lastindex else None
            return Stage(name, percent)
    return None
