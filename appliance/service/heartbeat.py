"""The pulse of the event loop: told to the service manager while it beats, and dumped when it does not.

The pulse comes from the loop itself. When something holds the loop up, no stream moves and nobody can ask why. So an
alarm of the kernel writes down where the loop's thread is, before the manager's patience ends. It interrupts that
thread, whatever it does and whoever has the interpreter's lock. A thread that looks on from outside, as in
`faulthandler.dump_traceback_later`, ended the process: after a SIGSTOP it read frames that had just gone.
"""

import faulthandler
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import trio

from appliance.service.notify import Manager

_BEAT = 1.0  # seconds
_BLOCKED = 10.0  # seconds without a beat after which the stack is dumped
_SHARE = 0.5  # of the watchdog's time, after which it is told at the latest


async def beat(manager: Manager, status: Callable[[], str], dump: TextIO | None) -> None:
    """Beat until cancelled.

    Args:
        manager: is told that we live, and `status` whenever that has changed.
        status: one line about what we do.
        dump: where the stack goes when the loop is held up; needs a file descriptor. None dumps nothing.
    """
    told, patience = "", manager.watchdog * _SHARE or math.inf
    pause, blocked = min(_BEAT, patience), min(_BLOCKED, patience)
    with _alarm(dump) as put_off:
        while True:
            put_off(blocked)
            if manager.watchdog:
                manager.tell("WATCHDOG=1")
            if manager.address and (line := status()) != told:
                told = line
                manager.tell(f"STATUS={line}")
            await trio.sleep(pause)


@contextmanager
def _alarm(dump: TextIO | None) -> Iterator[Callable[[float], object]]:
    """Put it off by so many seconds, again and again, or the stack is written down. The process has one such timer."""
    if dump is None:
        yield lambda _: None
        return
    faulthandler.register(signal.SIGALRM, dump, all_threads=False)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)
