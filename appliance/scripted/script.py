"""What one scripted engine does: every way to fail, as a value."""

from dataclasses import dataclass, field
from typing import Any, Literal

from appliance.scripted import replies


def _does(meaning: str, *, default: Any) -> Any:
    """A field with its line in `--help`."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Script:
    """What one scripted engine does. Every field is a flag of `appliance _engine`; the default does no harm."""

    # where and who
    socket: str = _does("path of the unix socket to listen on; else host and port", default="")
    host: str = _does("address to listen on", default="127.0.0.1")
    port: int = _does("0 chooses a free one, printed on standard output", default=0)
    model: str = _does("the name in /v1/models", default="scripted")
    style: Literal["llama.cpp", "vllm"] = _does(
        "whose log lines, loading and counters are imitated", default="llama.cpp"
    )
    # starting
    load_seconds: float = _does("how long it loads: 503 like llama-server, refused connections like vLLM", default=0.0)
    progress: bool = _does("write log lines of its progress while loading", default=False)
    stall_at: int | None = _does("stop loading for ever at so many percent", default=None)
    fail: Literal[
        "", "oom", "architecture", "vram_busy", "port_taken", "bad_flag", "missing_model", "gpu_fault", "kv_cache"
    ] = _does("write the last words of such a failure and exit, half-way through loading", default="")
    # ending
    exit_after_ready: int | None = _does("exit with this code, half a second after loading", default=None)
    crash_after: float | None = _does("SIGKILL itself so many seconds after loading, at every start", default=None)
    ignore_term: bool = _does("SIGTERM and SIGINT do nothing", default=False)
    ignore_first_term: bool = _does("the first SIGTERM does nothing", default=False)
    grandchild: bool = _does("start a process in a session of its own that ignores TERM", default=False)
    engine_core: bool = _does(
        "start a child that outlives this process; when it dies, this one says 503 and exits 0", default=False
    )
    engine_core_lives: float | None = _does("seconds after loading at which that child dies", default=None)
    keep_corpse: bool = _does("do not exit when that child dies", default=False)
    # answering
    tokens: int = _does("length of a reply that nothing cuts short", default=replies.DEFAULT_TOKENS)
    thinks: bool = _does("think before an answer, in the member that the style has for it", default=False)
    says: str = _does("the text of every answer, in tokens of three characters", default="")
    unsafe_about: str = _does('answer "unsafe" and S1 when a request holds this text, as a guard model', default="")
    calls: int = _does("most tools that are called at once", default=1)
    first_byte_delay: float = _does("seconds before a reply's first byte", default=0.0)
    token_delay: float = _does("seconds before each token", default=0.0)
    crash_after_tokens: int | None = _does("SIGKILL itself after so many tokens of a reply", default=None)
    stall_after_tokens: int | None = _does("go silent after so many tokens", default=None)
    truncate_after_tokens: int | None = _does(
        "end the stream cleanly, but without finish reason and [DONE]", default=None
    )
    cut_after_tokens: int | None = _does("break the connection in the middle of a chunk", default=None)
    error_event_after: int | None = _does("after so many tokens send an error event and end the stream", default=None)
    only_done: bool = _does("streams hold [DONE] and nothing else", default=False)
    garbage: Literal["", "http", "event"] = _does(
        "answer POST with bytes that are not HTTP, or events that are not JSON", default=""
    )
    huge_error: bool = _does("answer POST with 500 and a megabyte of HTML", default=False)
    status: int | None = _does("answer POST with this status and an error object", default=None)
    failures: int = _does("answer the first so many POSTs with 500", default=0)
    redirect: bool = _does("answer POST with a redirect", default=False)
    no_embeddings: int | None = _does("answer the embeddings route with this status", default=None)
    lacks: str = _does("routes that it does not have, with commas between: 404 File Not Found", default="")
    hang_after: int | None = _does("after so many requests, none gets an answer while health stays 200", default=None)
    health_hangs: bool = _does("the health route does not answer while tokens flow", default=False)
    wrong_key: bool = _does("ask for a key that nobody has: 401 on all routes but health", default=False)
    poison: str = _does("a request that holds this text ends the process", default="")
    # its counters
    waiting: int = _does("say that so many requests wait in its own line", default=0)
    preempts: bool = _does("say that its KV cache is full, and every request put back (vLLM)", default=False)
    # sessions over a websocket
    realtime: bool = _does("serve /v1/realtime", default=False)
    close_with: int | None = _does("close a session with this code after its first event", default=None)
    # sleeping, as vLLM does in its developer mode
    sleeps: bool = _does("serve /sleep, /wake_up and /is_sleeping", default=False)
    sleep_keeps_memory: bool = _does("say that it sleeps and give no GPU memory back", default=False)
    wake_fails: bool = _does("answer /wake_up with 500", default=False)
    # log
    log_flood: bool = _does("write log lines as fast as it can", default=False)
    log_burst: int = _does("write so many MB of log: endless lines, invalid UTF-8, terminal codes", default=0)
    # the GPU that is not there
    gpu_file: str = _does("JSON file that stands for the GPU driver; claim memory in it", default="")
    gpus: str = _does("indices of the GPUs, with commas between", default="0")
    gpu_memory: int = _does("MiB to claim on each", default=1024)
    gpu_release: float = _does("seconds after its end at which its memory is free again", default=0.0)
