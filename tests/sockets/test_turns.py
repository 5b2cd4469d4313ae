"""Who is woken, and in which order."""

import trio

from appliance.sockets.turns import Turns


class Loop(trio.abc.Instrument):
    """Knows what each turn of the event loop brought."""

    def __init__(self) -> None:
        self._turn = 0
        self._woken: dict[int, list[str]] = {}
        trio.lowlevel.add_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        self._turn += 1

    def woken(self, name: str) -> None:
        self._woken.setdefault(self._turn, []).append(name)

    async def turns(self) -> list[list[str]]:
        for _ in range(20):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return list(self._woken.values())


class Sleeper:
    def __init__(self, name: str, loop: Loop, *, urgent: bool = False, gone: bool = False) -> None:
        self.urgent = urgent
        self._name, self._loop, self._gone = name, loop, gone

    def wake(self) -> bool:
        if not self._gone:
            self._loop.woken(self._name)
        return not self._gone


async def test_few_in_a_turn_and_answers_first() -> None:
    turns, loop = Turns(), Loop()
    for number in range(6):
        turns.queue(Sleeper(f"request {number}", loop))
    for number in range(3):
        turns.queue(Sleeper(f"answer {number}", loop, urgent=True))
    assert await loop.turns() == [
        ["answer 0", "answer 1", "answer 2", "request 0"],
        ["request 1", "request 2", "request 3", "request 4"],
        ["request 5"],
    ]


async def test_who_has_gone_takes_nobodys_turn() -> None:
    turns, loop = Turns(), Loop()
    for number in range(9):
        turns.queue(Sleeper(str(number), loop, gone=number < 5))
    assert await loop.turns() == [["5", "6", "7", "8"]]


async def test_it_wakes_again_after_a_pause() -> None:
    turns, loop = Turns(), Loop()
    turns.queue(Sleeper("first", loop))
    assert await loop.turns() == [["first"]]
    turns.queue(Sleeper("second", loop))
    assert await loop.turns() == [["first"], ["second"]]


def test_one_queue_serves_one_run_of_trio_after_another() -> None:
    turns = Turns()

    async def main() -> None:
        loop = Loop()
        turns.queue(Sleeper("one", loop))
        assert await loop.turns() == [["one"]]

    trio.run(main)
    trio.run(main)
