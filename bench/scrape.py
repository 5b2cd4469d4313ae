"""Does reading the metrics disturb the streams? Ours alone: paced work, with and without a scrape every second."""

import gzip
import time
from collections.abc import Callable
from http.client import HTTPConnection

from bench.gateways import Appliance
from bench.program import ask
from bench.work import Figures, Meter, Stage, Work, figures, said, stage

EXTRA_MODELS = 120  # about 30 series each, once they were asked for
_EVERY = 1.0  # s


def _scrape(port: int) -> tuple[int, float]:
    """Series and milliseconds of one scrape."""
    started = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics", headers={"accept-encoding": "gzip"})  # as Prometheus does
    answer = connection.getresponse()
    text = answer.read()
    if answer.getheader("content-encoding") == "gzip":
        text = gzip.decompress(text)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"/metrics answered {answer.status}: {text[:200]!r}")
    series = sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))
    return series, (time.monotonic() - started) * 1000


def paced(ready: Stage, work: Work, *, scraping: bool, meanwhile: Callable[[float], None] = time.sleep) -> Figures:
    """One round of paced work, with a scrape every second or without.

    Args:
        ready: where.
        work: what.
        scraping: read the metrics every second.
        meanwhile: called with how many seconds it may take, while nothing else is to be done.
    """
    scrapes = []
    meter = Meter(ready)
    with ready.clients((*work.load, "--tokens", str(work.tokens))) as process:
        while process.poll() is None:
            due = time.monotonic() + _EVERY
            if scraping:
                scrapes.append(_scrape(ready.port))
            while process.poll() is None and time.monotonic() < due:
                meanwhile(0.02)
        found = figures(said(*process.communicate()), meter.read())
    if scrapes:
        found |= {"series": float(scrapes[-1][0]), "scrape ms": sorted(ms for _, ms in scrapes)[len(scrapes) // 2]}
    return found


def scrape_rounds(serve: str, work: Work, rounds: int) -> dict[str, list[Figures]]:
    """Rounds with a scrape and rounds without, in turns, in one process.

    Args:
        serve: another build of ours, or "".
        work: the paced work.
        rounds: how many of each.
    """
    found: dict[str, list[Figures]] = {"scraped": [], "left alone": []}
    with stage(Appliance(serve, EXTRA_MODELS), tokens=work.tokens, interval=work.interval) as ready:
        for extra in range(EXTRA_MODELS):
            status = ask(ready.port, f"mock-{extra}")
            if status != 200:
                raise RuntimeError(f"model mock-{extra} answered {status}")
        for _ in range(rounds):
            for name, results in found.items():
                results.append(paced(ready, work, scraping=name == "scraped"))
    return found
