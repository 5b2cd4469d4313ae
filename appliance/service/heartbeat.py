"""The pulse of the event loop: told to the service manager while it beats, and dumped when it does not.

The pulse comes from the loop itself. When something holds the loop up, no stream moves and nobody can ask why. So a
timer outside of the interpreter's lock writes down where every thread is, once, before the manager's patience ends.
"""

import faulthandler
import math
from collections.abc import Callable
from typing import TextIO

import trio

from appliance.service.notify import Manager

_BEAT = 1.0  # seconds
_BLOCKED = 10.0  # seconds without a beat after which the stacks are dumped
_SHARE = 0.5  # of the watchdog's time, after which it is told at the latest


async def beat(manager: Manager, status: Callable[[], str], dump: TextIO | None) -> None:
    """Beat until cancelled.

    Args:
        manager: is told that we live, and `status` whenever that has changed.
        status: one line about what we do.
        dump: where the stacks go when the loop is held up; needs a file descriptor. None dumps nothing.
    """
    told, patience = "", manager.watchdog * _SHARE or math.inf
    pause, blocked = min(_BEAT, patience), min(_BLOCKED, patience)
    try:
        while True:
            if dump is not None:
                faulthandler.dump_traceback_later(blocked, file=dump)  # put off by each beat
            if manager.watchdog:
                manager.tell("WATCHDOG=1")
            if manager.address and (line := status()) != told:
                told = line
                manager.tell(f"STATUS={line}")
            await trio.sleep(pause)
    finally:
        if dump is not None:
            faulthandler.cancel_dump_traceback_later()
