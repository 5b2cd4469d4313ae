"""What works when it is woken, and otherwise costs nothing."""

import trio

from appliance.sockets.dozing import Dozing


class Work:
    def __init__(self) -> None:
        self.left = self.rounds = 0
        self.task = Dozing(self.do, "work")

    def do(self) -> bool:
        self.rounds += 1
        self.left -= 1
        return self.left > 0

    async def after(self, left: int) -> int:
        """Rounds that so much work takes."""
        before, self.left = self.rounds, left
        self.task.wake()
        for _ in range(10):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return self.rounds - before


async def test_it_works_once_for_each_turn_that_has_something_and_then_sleeps() -> None:
    work = Work()
    assert [await work.after(left) for left in (1, 3, 1)] == [1, 3, 1]


async def test_who_is_woken_twice_works_once() -> None:
    work = Work()
    work.task.wake()
    assert await work.after(1) == 1
    work.task.wake()
    assert await work.after(1) == 1


def test_it_begins_anew_in_another_event_loop() -> None:
    work = Work()
    assert [trio.run(work.after, left) for left in (1, 2)] == [1, 2]
