"""The kinds of work, and one turn of one gateway at one of them."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.gateways import Gateway, standing
from bench.machine import (
    CACHE,
    GATEWAY_CPU,
    LOAD_CPU,
    busy_seconds,
    compiled,
    cpu_seconds,
    favour,
    free_port,
    rss_mib,
)
from bench.program import KEY, NotMeasuredError, Program, on_cpu, running

Figures = dict[str, float]

_WARM_UP = ("--mode", "requests", "--connections", "32", "--seconds", "0.5")
_LONGEST_LOAD = 900  # s


@dataclass(frozen=True, slots=True)
class Work:
    """What the clients ask for, and how the mock answers."""

    name: str
    about: str
    load: tuple[str, ...]  # options of load.c
    columns: tuple[str, ...]  # figures to show; the first one is what the work is about
    ratios: tuple[str, ...]  # of these, those to compare gateways by
    tokens: int = 100  # pieces of content in a stream
    interval: int = 0  # µs between two of them


def works(seconds: float) -> list[Work]:
    """The work of a comparison; `seconds` is the length of the rounds that may have any length."""
    per_request = ("requests/s", "p50 ms", "p99 ms", "CPU µs/request")
    transit = ("transit p99 ms", "transit p50 ms", "transit p90 ms", "ttft p99 ms", "CPU µs/token")
    timed = ("--seconds", f"{seconds:g}")
    return [
        Work(
            "requests",
            "32 connections, whole answers",
            ("--mode", "requests", "--connections", "32", *timed),
            per_request,
            ("requests/s", "CPU µs/request"),
        ),
        Work(
            "flood",
            "64 x 3 streams of 500 tokens with no pause",
            ("--mode", "streams", "--connections", "64", "--rounds", "3"),
            ("tokens/s", "CPU µs/token", "ttft p99 ms"),
            ("tokens/s", "CPU µs/token"),
            tokens=500,
        ),
        Work(
            "paced",
            "64 x 3 streams of 100 tokens, 100 tokens/s each",
            ("--mode", "streams", "--connections", "64", "--rounds", "3"),
            transit,
            ("transit p99 ms", "CPU µs/token"),
            interval=10_000,
        ),
        Work(
            "wide",
            "1024 streams of 75 tokens, 6.25 tokens/s each, begun over 2 s",
            ("--mode", "streams", "--connections", "1024", "--ramp", "2000"),
            transit,
            ("transit p99 ms", "CPU µs/token"),
            tokens=75,
            interval=160_000,
        ),
        Work(
            "large",
            "8 connections, prompts of 1 MiB, whole answers",
            ("--mode", "requests", "--connections", "8", "--body", str(1 << 20), *timed),
            per_request,
            ("requests/s", "CPU µs/request"),
        ),
    ]


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway that stands between mock and clients."""

    port: int
    program: Program | None  # None: there is no gateway

    @property
    def rss_mib(self) -> float:
        """The gateway's resident memory."""
        return rss_mib(self.program.session) if self.program else 0

    @contextmanager
    def clients(self, options: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        """The clients, at work with these options of `load`; they are waited for at the end of the block."""
        command = on_cpu(LOAD_CPU, [compiled("load"), "--port", str(self.port), "--key", KEY, *options])
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process:
            try:
                favour(process.pid)
                yield process
            except BaseException:
                process.kill()
                raise

    def load(self, options: Sequence[str]) -> dict[str, Any]:
        """Let the clients work; what they say.

        Raises:
            NotMeasuredError: they said nothing that can be read, or took far too long.
        """
        try:
            with self.clients(options) as process:
                return said(*process.communicate(timeout=_LONGEST_LOAD))
        except subprocess.TimeoutExpired:
            raise NotMeasuredError(f"load: not done after {_LONGEST_LOAD} s") from None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the gateway's CPU did while the clients worked."""

    seconds: float  # CPU time of the gateway
    others: float = 0  # percent of the CPU that programs other than the gateway took


class Meter:
    """Reads the gateway's CPU, from now on."""

    def __init__(self, ready: Stage) -> None:
        self._ready = ready
        self._started = self._now()

    def _now(self) -> tuple[float, float, float]:
        program = self._ready.program
        own, busy = (cpu_seconds(program.session), busy_seconds(GATEWAY_CPU)) if program else (0.0, 0.0)
        return time.monotonic(), own, busy

    def read(self) -> Cost:
        """The cost since the start; nothing where there is no gateway."""
        wall, own, busy = (now - then for now, then in zip(self._now(), self._started, strict=True))
        return Cost(own, max(0, busy - own) / wall * 100)


def said(output: str, errors: str) -> dict[str, Any]:
    """The result that `load` printed.

    Raises:
        NotMeasuredError: there is none.
    """
    try:
        result: dict[str, Any] = json.loads(output)
    except ValueError:
        raise NotMeasuredError(f"load: {errors or output or 'it said nothing'}") from None
    return result


@contextmanager
def stage(gateway: Gateway, *, tokens: int = 100, interval: int = 0) -> Iterator[Stage]:
    """Mock and gateway, fresh and warm, for as long as the block runs.

    Raises:
        NotMeasuredError: one of them did not start.
    """
    CACHE.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=CACHE) as name:
        folder, upstream = Path(name), free_port()
        mock = (compiled("mock"), "--port", str(upstream), "--tokens", str(tokens), "--interval", str(interval))
        with running(LOAD_CPU, mock, folder / "mock.log"):
            time.sleep(0.1)
            with standing(gateway, upstream, folder) as (port, program):
                ready = Stage(port, program)
                ready.load(_WARM_UP)
                yield ready


def figures(result: Mapping[str, Any], cost: Cost) -> Figures:
    """The clients' result and what it cost the gateway, as figures with units."""
    found = {"errors": float(result["failed"]), "others %": cost.others}
    found |= {f"error {name}": float(count) for name, count in result["errors"].items()}
    if result["finished"]:
        found["requests/s"] = result["finished"] / result["seconds"]
        found["CPU µs/request"] = cost.seconds / result["finished"] * 1e6
    if result["tokens"]:
        found["tokens/s"] = result["tokens"] / result["seconds"]
        found["CPU µs/token"] = cost.seconds / result["tokens"] * 1e6
    for name, prefix in (("latency", ""), ("ttft", "ttft "), ("transit", "transit ")):
        found |= {f"{prefix}{share} ms": value for share, value in result[name].items()}
    return found


def turn(gateway: Gateway, work: Work) -> Figures:
    """One turn of one gateway.

    Raises:
        NotMeasuredError: it cannot be measured.
    """
    with stage(gateway, tokens=work.tokens, interval=work.interval) as ready:
        meter = Meter(ready)
        result = ready.load((*work.load, "--tokens", str(work.tokens)))
        return figures(result, meter.read())
