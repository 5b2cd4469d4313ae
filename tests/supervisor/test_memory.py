import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config.schema import Runtime
from appliance.config.units import Size
from appliance.domain.gpus import Gpu, GpuSnapshot, Holder
from appliance.supervisor.memory import FILE, GpuMemory

OURS, THEIRS = Holder(10, "appliance", "llama-server", 30), Holder(99, "ann", "train.py", 20)


def gpu(index: int = 0, free: int = 50, *holders: Holder, total: int = 100) -> Gpu:
    return Gpu(index, f"GPU-{index}", "x", total, total - free, free, holders)


class Driver:
    """Says one thing after the other, and the last one for ever."""

    def __init__(self, *looks: tuple[Gpu, ...]) -> None:
        self._looks = list(looks)

    async def __call__(self) -> GpuSnapshot:
        await trio.lowlevel.checkpoint()
        return GpuSnapshot(self._looks.pop(0) if len(self._looks) > 1 else self._looks[0])


def runtime(**settings: Any) -> Runtime:
    return Runtime(**({"name": "m", "engine": "llama.cpp", "model": "/m.gguf"} | settings))


async def seen(tmp_path: Path, *looks: tuple[Gpu, ...]) -> GpuMemory:
    memory = GpuMemory(Driver(*looks), tmp_path)
    for _ in looks:
        await memory.look()
    return memory


async def test_free_is_what_was_free_twice(tmp_path: Path) -> None:
    memory = await seen(tmp_path, (gpu(free=90),), (gpu(free=10),), (gpu(free=70),))
    assert [one.free for one in memory.gpus() or ()] == [10]
    assert [one.rising for one in memory.gpus() or ()] == [60]
    await memory.look()
    assert [(one.free, one.rising) for one in memory.gpus() or ()] == [(70, 0)]


async def test_a_gpu_that_was_not_there_before(tmp_path: Path) -> None:
    memory = await seen(tmp_path, (gpu(),), (gpu(), gpu(1, 40)))
    assert [one.free for one in memory.gpus() or ()] == [50, 40]


async def test_nothing_is_known_before_the_first_look_and_nothing_ever_without_gpus(tmp_path: Path) -> None:
    memory = GpuMemory(Driver((gpu(),)), tmp_path)
    assert (memory.watched, memory.unseen, memory.gpus(), memory.held({1}), memory.most({1})) == (
        True, True, None, None, 0,
    )  # fmt: skip
    await memory.look()
    assert not memory.unseen
    none = GpuMemory(None, tmp_path)
    await none.look()
    assert (none.watched, none.unseen, none.gpus(), none.total((0,))) == (False, False, None, None)
    empty = await seen(tmp_path, ())
    assert (empty.unseen, empty.gpus()) == (False, None)


async def test_what_is_ours_is_not_among_the_holders_and_is_added_up(tmp_path: Path) -> None:
    memory = await seen(tmp_path, (gpu(0, 50, OURS, THEIRS), gpu(1, 60, Holder(11, "appliance", "x", 40))))
    assert [one.holders for one in memory.gpus(ours={10, 11}) or ()] == [(THEIRS,), ()]
    assert memory.held({10, 11}) == 70
    assert memory.most({10, 11}) == 40


async def test_the_smallest_of_some_gpus(tmp_path: Path) -> None:
    memory = await seen(tmp_path, (gpu(0, 1, total=80), gpu(1, 1, total=24), gpu(2, 1, total=48)))
    assert [memory.total(some) for some in ((0,), (0, 1), (0, 2), (7,))] == [80, 24, 48, None]


async def test_what_a_model_was_seen_to_hold_is_known_after_a_restart(tmp_path: Path) -> None:
    memory = GpuMemory(None, tmp_path)
    assert memory.need(runtime()) == 0
    assert await memory.learn(runtime(), 1000)
    assert not await memory.learn(runtime(), 1010)  # no news
    assert await memory.learn(runtime(), 2000)
    assert not await memory.learn(runtime(), 500)  # the most is what counts
    again = GpuMemory(None, tmp_path)
    again.load()
    assert again.need(runtime(name="other", priority=3)) == 2000
    for other in ({"context": 4096}, {"model": "/n.gguf"}, {"slots": 4}, {"gpus": (0, 1)}, {"args": ("-fa",)}):
        assert again.need(runtime(**other)) == 0


async def test_what_is_declared_is_believed(tmp_path: Path) -> None:
    memory = GpuMemory(None, tmp_path)
    declared = runtime(memory=Size(700))
    assert not await memory.learn(declared, 900)
    assert memory.need(declared) == 700
    assert type(memory.need(declared)) is int, "it is shown as JSON"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}', '{"a": null}', "3", '{"a": -1}'])
def test_a_file_that_is_none_is_no_reason_to_stop(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    memory = GpuMemory(None, tmp_path)
    memory.load()
    assert memory.need(runtime()) == 0


async def test_a_disk_that_is_full_neither(tmp_path: Path) -> None:
    memory = GpuMemory(None, tmp_path / "missing")
    assert await memory.learn(runtime(), 5)
    assert memory.need(runtime()) == 5


async def test_the_file_names_no_model(tmp_path: Path) -> None:
    await GpuMemory(None, tmp_path).learn(runtime(model="/secret/path.gguf"), 5)
    assert list(json.loads((tmp_path / FILE).read_text()).values()) == [5]
    assert "secret" not in (tmp_path / FILE).read_text()


async def test_what_processes_hold_by_gpu(tmp_path: Path) -> None:
    memory = await seen(tmp_path, (gpu(0, 50, OURS, THEIRS), gpu(1, 40, THEIRS)))
    assert memory.held_by_gpu({10}) == {0: 30}
    assert memory.held_by_gpu({99}) == {0: 20, 1: 20}
    assert (await seen(tmp_path, ())).held_by_gpu({10}) == {}
    silent = replace(gpu(0, 50, OURS), known=False)
    assert (await seen(tmp_path, (silent, gpu(1, 40, OURS)))).held_by_gpu({10}) == {1: 30}
