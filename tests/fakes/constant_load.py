"""A model that is never left alone, and what the log says of its comings and goings meanwhile."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx

from tests.fakes.product import Product

ENDED_WELL = ("200", "data: [DONE]")


@contextmanager
def constant_load(
    box: Product, model: str, clients: int = 3, *, wait: float = 60, **more: Any
) -> Iterator[list[tuple[str, str]]]:
    """Streams without a pause, from several clients; gives the replies as (status, last event)."""
    replies: list[tuple[str, str]] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            replies.append(stream(box, model, wait=wait, **more))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        over.set()
        for thread in threads:
            thread.join()


def stream(box: Product, model: str, *, wait: float = 60, **more: Any) -> tuple[str, str]:
    """One answer as (status, last event); `wait` is how many seconds may pass without a byte."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True} | more
    with httpx.stream("POST", f"{box.url}/v1/chat/completions", json=body, headers=box.headers, timeout=wait) as reply:
        lines = [line for line in reply.iter_lines() if line]
    return str(reply.status_code), lines[-1] if lines else ""


def changes(box: Product) -> list[dict[str, Any]]:
    """The states of the replicas, in the order of the log."""
    return [json.loads(line) for line in box.written().splitlines() if '"replica"' in line]


def stays(log: list[dict[str, Any]]) -> list[float]:
    """Seconds that each replica was ready each time."""
    found = []
    for name in {row["replica"] for row in log}:
        rows = [row for row in log if row["replica"] == name]
        times = [datetime.fromisoformat(row["time"]).timestamp() for row in rows]
        found += [times[at + 1] - times[at] for at, row in enumerate(rows[:-1]) if row["state"] == "ready"]
    return found
