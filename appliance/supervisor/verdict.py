"""Why a process ended or never became ready: a class, words and advice for the operator, and whether to try again.

An exit code says little: engines end with 0 when their workers die, and with 1 for everything else. The last lines of
the log know more. The table below is data, most telling row first; a row is looked for in all lines before the next
one is, because the line that says why stands above the line that says that it failed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_LINES = 200  # of the log's end
_LONGEST = 300  # characters of a line in a reason


class Cause(StrEnum):
    """The class of a failure; a label in metrics."""

    CONFIG = "config"
    MISSING_MODEL = "missing_model"
    VRAM_BUSY = "vram_busy"
    OOM = "oom"
    PORT_RACE = "port_race"
    ENGINE_DEAD = "engine_dead"
    GPU_FAULT = "gpu_fault"
    HOST_OOM = "host_oom"
    CRASH = "crash"
    HOST = "host"
    STALLED = "stalled"
    START_TIMEOUT = "start_timeout"
    CANARY = "canary"
    EXITED = "exited"


class Retry(StrEnum):
    """What to do about it."""

    BACKOFF = "backoff"  # again, after a growing pause
    ONCE = "once"  # once more, then quarantine
    NEVER = "never"  # quarantine: it would fail again
    NEW_PORT = "new_port"  # again at once: somebody else took its port


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about a failure.

    Attributes:
        cause: its class.
        words: what happened.
        advice: what the operator should do; "" when nothing.
        retry: whether to start it again.
    """

    cause: Cause
    words: str
    advice: str = ""
    retry: Retry = Retry.BACKOFF

    @property
    def advice_in_quarantine(self) -> str:
        """What the operator should do, and what happens if nobody does anything; see `pauses.trial`."""
        alone = "" if self.retry is Retry.NEVER else "It is tried once more an hour after its last failure."
        return f"{self.advice} {alone}".strip()


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: re.Pattern[str]
    cause: Cause
    advice: str
    retry: Retry
    starting_only: bool = False


def _row(pattern: str, cause: Cause, advice: str, retry: Retry, *, starting_only: bool = False) -> _Row:
    return _Row(re.compile(pattern, re.IGNORECASE), cause, advice, retry, starting_only)


_SMALLER = (
    "Give it less to hold (`context`, `slots`, a smaller or more quantized model) or more room (`gpus`, `memory`)."
)
_MODEL = "Correct `model`; it is tried again when the file changes."
_TABLE = (
    _row(
        r"unrecognized arguments?|invalid argument: -|error: argument |unknown argument|unrecognized option",
        Cause.CONFIG,
        "The engine does not know one of `args`. Correct it; `appliance models explain` shows the command line.",
        Retry.NEVER,
    ),
    _row(
        r"larger than the maximum number of tokens that can be stored in KV cache"
        r"|greater than the derived max_model_len|max seq len .* is larger",
        Cause.CONFIG,
        "Set a smaller `context`.",
        Retry.NEVER,
        starting_only=True,
    ),
    _row(
        r"Model architectures? .* (?:is|are) not supported|unknown model architecture|Unknown quantization"
        r"|unsupported model|invalid magic characters|invalid gguf|tensor .* data is not within the file bounds",
        Cause.CONFIG,
        "This engine cannot run this model file: use a newer engine, another file, or fetch the file again.",
        Retry.NEVER,
        starting_only=True,
    ),
    _row(
        r"failed to open GGUF file|does not appear to have a file named|not a valid repo id|Repo id must be in the form"
        r"|Cannot find an appropriate cached snapshot|gated repo|LocalEntryNotFoundError|no such model",
        Cause.MISSING_MODEL,
        _MODEL,
        Retry.NEVER,
        starting_only=True,
    ),
    _row(
        r"Free memory on device .* is less than desired GPU memory",
        Cause.VRAM_BUSY,
        "Something else holds GPU memory; `appliance status` names it.",
        Retry.ONCE,
        starting_only=True,
    ),
    _row(
        r"CUDA out of memory|OutOfMemoryError|cudaMalloc failed|failed to allocate .*buffer|ErrorOutOfDeviceMemory"
        r"|No available memory for the cache blocks|kv cache allocation is less than requested"
        r"|failed to create_?.?context|unable to allocate .* buffer",
        Cause.OOM,
        _SMALLER,
        Retry.ONCE,
    ),
    _row(
        r"Address already in use|EADDRINUSE|Errno 98|couldn't bind HTTP server socket",
        Cause.PORT_RACE,
        "",
        Retry.NEW_PORT,
        starting_only=True,
    ),
    _row(
        r"NCCL error|illegal memory access|device-side assert|NVRM: Xid|GPU is lost|fallen off the bus",
        Cause.GPU_FAULT,
        "The GPU or its driver failed; see the kernel's log (`dmesg`). If it repeats, restart the machine.",
        Retry.BACKOFF,
    ),
    _row(
        r"no CUDA-capable device|CUDA driver version is insufficient|libcuda\.so"
        r"|NVIDIA driver on your system is too old|Found no NVIDIA driver",
        Cause.HOST,
        "The engine finds no usable GPU driver: install or update it, then `appliance load`.",
        Retry.NEVER,
        starting_only=True,
    ),
    _row(
        r"error while loading shared libraries: |ImportError: \S+: cannot open shared object file",
        Cause.HOST,
        "This machine lacks a library that the engine needs. Install the package that has it (on Debian and Ubuntu "
        "`libgomp.so.1` is in `libgomp1`), then `appliance load`.",
        Retry.NEVER,
        starting_only=True,
    ),
    _row(
        r"EngineDeadError|EngineCore encountered|EngineCore .*died|died unexpectedly|Engine core proc .*died",
        Cause.ENGINE_DEAD,
        "",
        Retry.BACKOFF,
    ),
)
_TELLING = re.compile(
    r"error|fatal|exception|fail|cannot|can't|unable|not found|no such file|denied|abort|out of memory|invalid|panic"
    r"|assert",
    re.IGNORECASE,
)
# Says only that something above it failed.
_WRAPPER = re.compile(
    r"See root cause above|Engine core initialization failed|exiting due to|Failed core proc", re.IGNORECASE
)
# SIGHUP, SIGINT, SIGKILL and SIGTERM come from outside: what an engine said last has nothing to do with them, unless
# it complained.
_SENT = frozenset({-1, -2, -9, -15})
_KILLED = (
    "Somebody on this machine has sent the signal. Where nobody did, see the kernel's log (`dmesg`): a limit on memory "
    "ends processes like this, too."
)
_SIGNALS = {-4: "SIGILL", -6: "SIGABRT", -7: "SIGBUS", -8: "SIGFPE", -9: "SIGKILL", -11: "SIGSEGV"}


def judge(lines: Sequence[str], code: int | None, *, ended: str, ready: bool, hint: Cause | None = None) -> Verdict:
    """What to make of an end or of a start that was given up.

    Args:
        lines: the end of the log.
        code: exit code, negative for a signal; None when it was still running or nobody told.
        ended: how it ended, in words: "exit code 1".
        ready: it had been ready.
        hint: what we know without the log: the kernel killed it for memory, it stalled, it never got ready.
    """
    spoken = [line.strip() for line in lines if line.strip()][-_LINES:]
    said = telling(spoken, complaints_only=hint is Cause.HOST_OOM or (hint is None and (code is None or code in _SENT)))
    if hint is not None:
        return Verdict(hint, _words(ended, said if hint is not Cause.STALLED else ""), *_ABOUT[hint])
    for row in _TABLE:
        if row.starting_only and ready:
            continue
        line = next((line for line in reversed(spoken) if row.pattern.search(line)), None)
        if line is not None:
            return Verdict(row.cause, _words(ended, line), row.advice, row.retry)
    if code == -4:  # SIGILL
        advice = "The engine's program was built for another processor; install one that was built for this machine."
        return Verdict(Cause.HOST, _words(ended, said), advice, Retry.BACKOFF if ready else Retry.ONCE)
    if code in _SENT:
        return Verdict(
            Cause.CRASH if code in _SIGNALS else Cause.EXITED, _words(f"{ended} from outside", said), _KILLED
        )
    return Verdict(Cause.CRASH if code in _SIGNALS else Cause.EXITED, _words(ended, said))


_ABOUT = {
    Cause.HOST_OOM: ("The machine ran out of memory and the kernel ended it. " + _SMALLER, Retry.BACKOFF),
    Cause.STALLED: ("If long prompts are usual here, raise `stall_limit`.", Retry.BACKOFF),
    Cause.START_TIMEOUT: (
        "See its log; if it only needs more time, raise `load_stall` or `load_limit`.",
        Retry.BACKOFF,
    ),
    Cause.CANARY: ("It says that it is ready and answers no request; see its log.", Retry.BACKOFF),
    Cause.ENGINE_DEAD: ("", Retry.BACKOFF),
    Cause.PORT_RACE: ("", Retry.NEW_PORT),
    Cause.CONFIG: ("Correct the configuration; it is tried again when it changes.", Retry.NEVER),
    Cause.HOST: ("", Retry.BACKOFF),
    Cause.GPU_FAULT: ("", Retry.BACKOFF),
}


def telling(spoken: Sequence[str], *, complaints_only: bool = False) -> str:
    """The line that most likely says why: the last one that sounds like an error and is not about another line.

    Where none sounds like one it is the last line, or "" with `complaints_only`.
    """
    said = [line for line in spoken[-50:] if line.strip()]
    if not said:
        return ""
    errors = [line for line in said if _TELLING.search(line)]
    if not errors:
        return "" if complaints_only else _cut(said[-1].strip())
    return _cut(next((line for line in reversed(errors) if not _WRAPPER.search(line)), errors[-1]).strip())


def _words(ended: str, said: str) -> str:
    return ": ".join(part for part in (ended, _cut(said)) if part)


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
