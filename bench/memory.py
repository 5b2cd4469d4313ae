"""What a gateway's memory does: at rest, with idle connections, with streams under way; and over a million requests."""

import time
from dataclasses import dataclass

from bench.gateways import Gateway
from bench.work import Figures, Stage, said, stage

STREAMS = 500
_TOKENS = 40
_INTERVAL = 250_000  # µs: the streams take 10 s
_MIDDLE = 7.0  # s after the start: all have begun, none has ended
_PARTS = 4  # the soak is looked at so often


@dataclass(frozen=True, slots=True)
class _Growth:
    """KiB for each of so many, and whether it went well."""

    each: float
    failed: float


def _idle(ready: Stage, connections: int) -> _Growth:
    before = ready.rss_mib
    with ready.clients(("--mode", "idle", "--connections", str(connections))) as process:
        result = said(process.stdout.readline() if process.stdout else "", "")
        time.sleep(1)
        growth = ready.rss_mib - before
        gone = connections - said(*process.communicate())["open"]
    return _Growth(growth * 1024 / connections, result["failed"] + gone)


def _streams(ready: Stage) -> _Growth:
    before = ready.rss_mib
    with ready.clients(
        ("--mode", "streams", "--connections", str(STREAMS), "--ramp", "2000", "--tokens", str(_TOKENS))
    ) as process:
        time.sleep(_MIDDLE)
        growth = ready.rss_mib - before
        result = said(*process.communicate())
    return _Growth(growth * 1024 / STREAMS, result["failed"])


def idle_connections(files: int) -> int:
    """How many idle connections fit, where a process may have so many files: each may take two of the gateway's."""
    return min(5000, (files - 500) // 2)


def memory(gateway: Gateway, connections: int) -> Figures:
    """Resident memory of one gateway.

    Args:
        gateway: who; it is started afresh for each figure, as memory that was used once is not always given back.
        connections: how many idle ones to open.

    Raises:
        NotMeasuredError: it cannot be measured.
    """
    with stage(gateway, interval=_INTERVAL) as ready:
        rest = ready.rss_mib
        idle = _idle(ready, connections)
    with stage(gateway, tokens=_TOKENS, interval=_INTERVAL) as ready:
        streams = _streams(ready)
    return {
        "at rest MiB": rest,
        "KiB/idle connection": idle.each,
        "KiB/stream": streams.each,
        "errors": idle.failed + streams.failed,
    }


def soak(gateway: Gateway, requests: int) -> list[Figures]:
    """So many requests in four parts; after each one the memory, and before the first.

    Raises:
        NotMeasuredError: it cannot be measured.
    """
    part = max(1, requests // _PARTS)
    with stage(gateway) as ready:
        found: list[Figures] = [{"requests": 0, "RSS MiB": ready.rss_mib, "requests/s": 0, "errors": 0}]
        for index in range(_PARTS):
            result = ready.load(("--mode", "requests", "--connections", "32", "--count", str(part)))
            found.append(
                {
                    "requests": float(part * (index + 1)),
                    "RSS MiB": ready.rss_mib,
                    "requests/s": result["finished"] / result["seconds"],
                    "errors": float(result["failed"]),
                }
            )
    return found
