"""Does watching disturb the streams? Ours alone: 5,000 tokens a second, left alone and with everybody looking on.

Everybody is a scrape of the metrics every second and twenty consoles, each of which follows `/ops/v1/live`.
"""

import hashlib
import select
import socket
from contextlib import ExitStack

from bench.gateways import Appliance
from bench.program import NotMeasuredError
from bench.scrape import paced
from bench.work import Figures, Work, stage

WORK = Work(
    "watched",
    "50 x 3 streams of 200 tokens, 100 tokens/s each: with a scrape every second and 20 consoles, and without",
    ("--mode", "streams", "--connections", "50", "--rounds", "3"),
    ("transit p99 ms", "transit p50 ms", "tokens/s", "snapshots", "scrape ms"),
    ("transit p99 ms",),
    tokens=200,
    interval=10_000,
)
_CONSOLES = 20
_KEY = "sk-bench-watcher-0000000000000000"
_TABLE = f"""
[[keys]]
name = "watcher"
hash = "sha256:{hashlib.sha256(_KEY.encode()).hexdigest()}"
scopes = ["admin"]
"""
_PATIENCE = 10.0  # seconds


class _Consoles:
    """Reads what all of them are sent, and counts it.

    Attributes:
        snapshots: that each of them has been shown.
    """

    def __init__(self, streams: list[socket.socket]) -> None:
        self._numbers = {stream: number for number, stream in enumerate(streams)}
        self.snapshots = [0] * len(streams)

    def look(self, seconds: float) -> None:
        """Read for so long, or until there was something.

        Raises:
            NotMeasuredError: one of them was cut.
        """
        readable, _, _ = select.select([*self._numbers], [], [], seconds)
        for stream in readable:
            data = stream.recv(1 << 20)
            if not data:
                raise NotMeasuredError("a console was cut")
            self.snapshots[self._numbers[stream]] += data.count(b"data: ")


def _console(port: int) -> socket.socket:
    """A console that has been answered.

    Raises:
        NotMeasuredError: it was refused.
    """
    stream = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    head = (
        "GET /ops/v1/live HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {_KEY}",
        "Accept: text/event-stream",
    )
    stream.sendall("\r\n".join([*head, "", ""]).encode())
    answer = stream.recv(4096)
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise NotMeasuredError(f"/ops/v1/live: {answer[:200]!r}")
    return stream


def watched_rounds(serve: str, rounds: int) -> dict[str, list[Figures]]:
    """Rounds with everybody looking on and rounds without, in turns, in one process.

    Args:
        serve: another build of ours, or "".
        rounds: how many of each.

    Raises:
        NotMeasuredError: a console was refused, or was shown nothing.
    """
    found: dict[str, list[Figures]] = {"watched": [], "left alone": []}
    with stage(Appliance(serve, more=_TABLE), tokens=WORK.tokens, interval=WORK.interval) as ready:
        for _ in range(rounds):
            with ExitStack() as stack:
                consoles = _Consoles([stack.enter_context(_console(ready.port)) for _ in range(_CONSOLES)])
                figures = paced(ready, WORK, scraping=True, meanwhile=consoles.look)
            if min(consoles.snapshots) == 0:
                raise NotMeasuredError(f"the consoles were shown {consoles.snapshots} snapshots")
            found["watched"].append(figures | {"snapshots": float(sum(consoles.snapshots))})
            found["left alone"].append(paced(ready, WORK, scraping=False))
    return found
