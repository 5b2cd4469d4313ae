from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.domain.orders import LogPiece
from appliance.domain.secret import Secret
from appliance.errors import GatewayError
from appliance.supervisor.following import Follower
from appliance.supervisor.tail import LINES, Tail


@dataclass
class Process:
    """A replica, as far as a follower sees it."""

    name: str
    path: Path
    tail: Tail | None = None

    def begin(self, *secrets: str) -> "Process":
        self.path.touch()
        self.tail = Tail(self.path, [Secret(text) for text in secrets])
        return self

    def say(self, text: str) -> None:
        assert self.tail is not None
        with self.path.open("a") as file:
            file.write(text)
        self.tail.poll()


class World:
    def __init__(self, folder: Path, *names: str) -> None:
        self.replicas = [Process(name, folder / name) for name in names]

    def members(self) -> Any:
        if not self.replicas:
            raise GatewayError("model_not_found", "gone")
        return cast("Any", self.replicas)


async def received(follower: Follower) -> LogPiece | None:
    return await follower.receive(0.3)


async def test_a_restart_goes_on_where_the_last_process_ended(tmp_path: Path, autojump_clock: object) -> None:
    world = World(tmp_path, "m")
    (m,) = world.replicas
    m.begin("hush")
    m.say("old\nlast\n")
    follower = Follower(world.members, 1)
    assert await received(follower) == LogPiece("m", ["last"])
    assert await received(follower) is None
    m.say("the key is hush\n")
    m.begin()
    m.say("hello\n")
    assert await received(follower) == LogPiece("m", ["the key is ***"])
    assert await received(follower) == LogPiece("m", ["hello"], fresh=True)
    m.say("more\n")
    assert await received(follower) == LogPiece("m", ["more"])


async def test_it_waits_for_a_first_process_and_shows_all_of_it(tmp_path: Path, autojump_clock: object) -> None:
    world = World(tmp_path, "m")
    follower = Follower(world.members, 0)
    assert await received(follower) is None
    world.replicas[0].begin().say("one\ntwo\n")
    assert await received(follower) == LogPiece("m", ["one", "two"])


async def test_replicas_take_turns_and_none_is_drowned(tmp_path: Path, autojump_clock: object) -> None:
    world = World(tmp_path, "m@1", "m@2")
    loud, quiet = (replica.begin() for replica in world.replicas)
    follower = Follower(world.members, 0)
    loud.say("x\n")
    quiet.say("y\n")
    assert await received(follower) == LogPiece("m@1", ["x"])
    loud.say("x\n")
    assert await received(follower) == LogPiece("m@2", ["y"])
    assert await received(follower) == LogPiece("m@1", ["x"])


async def test_pieces_are_bounded_and_what_a_slow_reader_misses_is_counted(
    tmp_path: Path, autojump_clock: object
) -> None:
    world = World(tmp_path, "m")
    m = world.replicas[0].begin()
    follower = Follower(world.members, 0)
    m.say(("z" * 5000 + "\n") * 30)
    first = await received(follower)
    assert first is not None
    assert (len(first.lines), first.missed) == (13, 0)  # 64 KiB
    m.say("a\n" * LINES)
    second = await received(follower)
    assert second == LogPiece("m", ["a"] * LINES, 17)


async def test_a_rotation_of_the_file_loses_nothing(tmp_path: Path, autojump_clock: object) -> None:
    world = World(tmp_path, "m")
    m = world.replicas[0].begin()
    follower = Follower(world.members, 0)
    m.say("before\n")
    assert m.tail is not None
    m.tail.rotate()
    m.say("after\n")
    assert await received(follower) == LogPiece("m", ["before", "after"])


async def test_a_runtime_that_leaves_the_configuration_ends_it(tmp_path: Path) -> None:
    world = World(tmp_path, "m")
    world.replicas[0].begin()
    follower = Follower(world.members, 0)
    world.replicas.clear()
    with pytest.raises(GatewayError, match="gone"):
        await received(follower)
    with pytest.raises(GatewayError):
        Follower(world.members, 0)
