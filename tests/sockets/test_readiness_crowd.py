"""Tasks that wait while streams flow: they are woken in turns."""

from contextlib import ExitStack, suppress

import trio

from appliance.sockets.readiness import Readiness
from tests.sockets.test_readiness_flowing import Ours, blocked, pair, reader, still_works


async def test_while_a_stream_flows_a_crowd_is_woken_in_turns_and_answers_come_first() -> None:
    room, got = Readiness(), list[bytes]()
    order: list[str] = []

    async def waiting(ours: Ours, name: str) -> None:
        await ours.wait()
        order.append(name)

    with ExitStack() as stack, trio.fail_after(10):
        flowing, feed = stack.enter_context(pair(room))
        requests = [stack.enter_context(pair(room)) for _ in range(20)]
        answer, engine = stack.enter_context(pair(room))
        answer.urgent = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flowing.run, reader(flowing, got, b"end"))
            for ours, _ in requests:
                nursery.start_soon(waiting, ours, "request")
            nursery.start_soon(waiting, answer, "answer")
            await blocked()
            for _, theirs in requests:
                theirs.send(b"x")
            engine.send(b"x")
            await blocked()
            feed.send(b"end")
    assert sorted(order) == ["answer"] + ["request"] * 20
    assert order.index("answer") < 4
    await still_works(room)


async def test_who_is_cancelled_or_closed_while_its_turn_comes_loses_nothing_of_others() -> None:
    room, got = Readiness(), list[bytes]()
    with ExitStack() as stack, trio.fail_after(10):
        flowing, feed = stack.enter_context(pair(room))
        crowd = [stack.enter_context(pair(room)) for _ in range(30)]
        heard = set[int]()
        scopes = [trio.CancelScope() for _ in crowd]

        async def waiting(number: int) -> None:
            with scopes[number], suppress(trio.ClosedResourceError):
                await crowd[number][0].wait()
                heard.add(number)

        def spoil() -> bool:
            """In the round that queues the crowd, before any of it has its turn."""
            for number in range(0, 30, 3):
                scopes[number].cancel()
            for number in range(1, 30, 3):
                crowd[number][0].close()
            return reader(flowing, got, b"end")()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flowing.run, spoil)
            for number in range(30):
                nursery.start_soon(waiting, number)
            await blocked()
            for _, theirs in crowd:
                theirs.send(b"x")
            feed.send(b"end")
        assert heard >= set(range(2, 30, 3))
        assert not heard & set(range(1, 30, 3))
    await still_works(room)
