"""What a starting engine writes to its log, after the words of vLLM and llama-server."""

from collections.abc import Iterator
from typing import Literal

Style = Literal["llama.cpp", "vllm"]
_SHARDS = 20
_VLLM_END = (
    "(EngineCore pid=2) INFO [backends.py:548] Dynamo bytecode transform time: 5.12 s",
    "(EngineCore pid=2) INFO [monitor.py:34] torch.compile takes 21.80 s in total",
    "(EngineCore pid=2) INFO [kv_cache_utils.py:1229] GPU KV cache size: 98,304 tokens",
    "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|##########| 35/35 [00:05<00:00,  6.40it/s]",
    "(APIServer pid=1) INFO [launcher.py:38] Available routes are:",
    "INFO:     Application startup complete.",
)
_LAST_WORDS: dict[str, tuple[int, str]] = {
    "oom": (
        1,
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
            "23.64 GiB of which 1.12 GiB is free."
        ),
    ),
    "architecture": (1, "llama_model_load: error loading model: unknown model architecture: 'scripted'"),
    "vram_busy": (
        1,
        (
            "ValueError: Free memory on device cuda:0 (3.11/23.64 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 21.28 GiB). Decrease GPU memory utilization or reduce memory used by other processes."
        ),
    ),
    "port_taken": (1, "OSError: [Errno 98] Address already in use"),
    "bad_flag": (2, "vllm: error: unrecognized arguments: --scripted"),
    "missing_model": (
        1,
        (
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
            "'namespace/repo_name': '/models/scripted'. Use `repo_type` argument if needed."
        ),
    ),
    "gpu_fault": (1, "RuntimeError: CUDA error: an illegal memory access was encountered"),
    "kv_cache": (
        1,
        (
            "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be "
            "stored in KV cache (40960). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
        ),
    ),
}
_WRAPPER = (
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
)


def progress(style: Style, percent: int) -> str:
    """The log line of a load that is so far."""
    if style == "vllm":
        done = percent * _SHARDS // 100
        return (
            f"Loading safetensors checkpoint shards: {percent:3d}% Completed | {done}/{_SHARDS} [00:{done:02d}<00:09]"
        )
    return f"slot load_tensors: loading model tensors, progress = {percent / 100:.2f}"


def complete(style: Style) -> tuple[str, ...]:
    """The log lines after the weights are in memory."""
    return _VLLM_END if style == "vllm" else ("srv  llama_server: model loaded",)


def last_words(style: Style, fail: str) -> tuple[int, tuple[str, ...]]:
    """The exit code and the last log lines of a start that fails; vLLM's parent process says less than its child."""
    code, line = _LAST_WORDS[fail]
    if style == "vllm" and fail in {"oom", "vram_busy", "gpu_fault", "kv_cache"}:
        return code, (f"(EngineCore pid=2) ERROR [core.py:842] {line}", f"(APIServer pid=1) {_WRAPPER}")
    return code, (line,)


def burst(megabytes: int) -> Iterator[bytes]:
    """Log that no reader should choke on, a megabyte at a time."""
    kinds = (
        b"x" * (2**20 - 1) + b"\n",
        b"\xff\xfe\x80 not UTF-8 \xc3\n" * (2**20 // 17),
        b"\x1b[31mred\x1b[0m\x1b]0;title\x07\x00\r\n" * (2**20 // 25),
        b"\r 99%|#########9|" * (2**20 // 16),
    )
    for index in range(megabytes):
        yield kinds[index % len(kinds)]
