"""How vLLM is put to sleep and woken: it gives its GPU memory back without ending, and is there again in a second.

    sleep   POST /sleep → /is_sleeping says so → the GPU memory is really free
    wake    POST /wake_up → /is_sleeping says no → one token comes out

Level 1 keeps the weights in the memory of the host. Level 2 drops them: they are loaded again between the two halves
of waking. vLLM may answer before it has done what it was asked, its /health says 200 all along, and requests to a
sleeper hang; so nothing is believed that was not looked at, and whoever calls this drains first and, on a failure,
ends the process and starts it cold.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from json import loads
from typing import Literal

import trio

Level = Literal[1, 2]
FREED = 0.5  # part of its memory that a sleeper must give back at least; it keeps a context on each GPU
SLEEP_LIMIT = 60.0  # seconds; level 1 copies the weights to the host
WAKE_LIMIT = 300.0  # seconds; level 2 reads them from the disk
_POLL = 0.25


@dataclass(frozen=True, slots=True)
class Step:
    """One request to the engine.

    Attributes:
        path: with its query; sent by POST.
        body: JSON, or nothing.
    """

    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of an attempt to put it to sleep or to wake it.

    Attributes:
        ok: it is so now.
        reason: why not, in words.
        verified: its memory was looked at; false where no GPU can be read.
    """

    ok: bool
    reason: str = ""
    verified: bool = False


Send = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
"""Method, path and body to status and body, over the engine's own socket. Raises OSError when nothing answers."""
Held = Callable[[], Awaitable[int | None]]
"""Bytes of GPU memory that the replica's processes hold; None when that cannot be known."""
Canary = Callable[[], Awaitable[str]]
"""Asks for one token; "" when it came, else what was wrong."""


class _Failed(Exception):  # noqa: N818 - not an error of the program
    """A step did not do what it should."""


def steps_to_sleep(level: Level) -> tuple[Step, ...]:
    """The requests that put it to sleep."""
    return (Step(f"/sleep?level={level}"),)


def steps_to_wake(level: Level) -> tuple[Step, ...]:
    """The requests that wake it from a level."""
    if level == 1:
        return (Step("/wake_up"),)
    reload = Step("/collective_rpc", b'{"method":"reload_weights"}')
    return (Step("/wake_up?tags=weights"), reload, Step("/wake_up?tags=kv_cache"))


async def put_to_sleep(level: Level, send: Send, held: Held, limit: float = SLEEP_LIMIT) -> Turn:
    """Put a drained engine to sleep, and see that its memory is free.

    Args:
        level: 1 or 2.
        send: asks the engine.
        held: looks at its GPU memory.
        limit: seconds for the whole of it.
    """
    with trio.move_on_after(limit):
        try:
            before = await held()
            await _take(steps_to_sleep(level), send)
            await _until_sleeping(send, wanted=True)
        except _Failed as failure:
            return Turn(ok=False, reason=str(failure))
        if before is None:
            return Turn(ok=True)
        return await _until_freed(held, before * (1 - FREED))
    return Turn(ok=False, reason=f"not asleep, or its GPU memory is not free, after {limit:g} s")


async def wake(level: Level, send: Send, canary: Canary, limit: float = WAKE_LIMIT) -> Turn:
    """Wake it, and see that it works.

    Args:
        level: at which it sleeps.
        send: asks the engine.
        canary: asks it for a token.
        limit: seconds for the whole of it.
    """
    with trio.move_on_after(limit):
        try:
            await _take(steps_to_wake(level), send)
            await _until_sleeping(send, wanted=False)
        except _Failed as failure:
            return Turn(ok=False, reason=str(failure))
        wrong = await canary()
        return Turn(ok=not wrong, reason=f"awake, but {wrong}" if wrong else "", verified=not wrong)
    return Turn(ok=False, reason=f"not awake after {limit:g} s")


async def is_asleep(send: Send) -> bool:
    """What it says itself; False when it does not say."""
    try:
        status, body = await send("GET", "/is_sleeping", b"")
        return status == 200 and loads(body)["is_sleeping"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


async def _take(steps: tuple[Step, ...], send: Send) -> None:
    for step in steps:
        status, _ = await _ask(send, "POST", step.path, step.body)
        if status != 200:
            raise _Failed(f"{step.path.partition('?')[0]} answered {status}")


async def _until_sleeping(send: Send, *, wanted: bool) -> None:
    while True:
        status, body = await _ask(send, "GET", "/is_sleeping", b"")
        if status != 200:
            raise _Failed(f"/is_sleeping answered {status}")
        try:
            if loads(body)["is_sleeping"] is wanted:
                return
        except (ValueError, KeyError, TypeError):
            raise _Failed("/is_sleeping answered something else than it should") from None
        await trio.sleep(_POLL)


async def _until_freed(held: Held, most: float) -> Turn:
    """Two looks in a row, as after an end: the figures of a driver lag."""
    good = 0
    while good < 2:
        now = await held()
        good = good + 1 if now is not None and now <= most else 0
        if good < 2:
            await trio.sleep(_POLL)
    return Turn(ok=True, verified=True)


async def _ask(send: Send, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    try:
        return await send(method, path, body)
    except OSError as error:
        raise _Failed(f"{path.partition('?')[0]} got no answer: {error}") from error
