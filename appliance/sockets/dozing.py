"""A task that is there for a whole process, and sleeps where there is nothing to do."""

from collections.abc import Callable

import trio


class Dozing:
    """A system task of the event loop that is begun when it is woken first.

    Args:
        work: what there is to do now; whether more is left for the next turn of the loop. It must not raise: an error
            in a system task ends the program.
        name: of the task.
    """

    __slots__ = ("_asleep", "_name", "_running", "_work")

    def __init__(self, work: Callable[[], bool], name: str) -> None:
        self._work = work
        self._name = name
        self._running = False
        self._asleep: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """There is something to do: it works before the loop waits again."""
        if self._asleep is not None:
            trio.lowlevel.reschedule(self._asleep)
            self._asleep = None
        elif not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run, name=self._name)

    async def _run(self) -> None:
        try:
            while True:
                if self._work():
                    await trio.lowlevel.cancel_shielded_checkpoint()
                else:
                    self._asleep = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._stop)
        finally:
            self._running = False

    def _stop(self, _: object) -> trio.lowlevel.Abort:
        self._asleep = None
        return trio.lowlevel.Abort.SUCCEEDED
