"""Orders for upgrades that come to nothing. One that succeeds is shown in `tests/e2e/test_upgrade.py`."""

from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.domain.orders import Change, Reloaded, Upgraded, UpgradeWanted
from appliance.upgrades import Origin, Upgrades
from tests.fakes.program import script


class Reloader:
    """Says what a reload would change."""

    def __init__(self, told: Reloaded) -> None:
        self.one = trio.Lock()
        self._told = told

    async def reload(self, dry_run: bool) -> Reloaded:
        assert dry_run
        await trio.lowlevel.checkpoint()
        return self._told


def upgrades(place: Path, told: Reloaded | None = None) -> tuple[Upgrades, Reloader]:
    reloader: Any = Reloader(told or Reloaded(ok=True))
    return Upgrades(Origin(place / "c.toml", {"PATH": "/bin:/usr/bin"}), reloader), reloader


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Reloaded(ok=False, problems=("c.toml:1: wrong",)), "has mistakes: c.toml:1: wrong"),
        (Reloaded(ok=True, runtimes=(Change("m", "restart"),)), "not in effect yet (m): run `appliance reload`"),
    ],
)
async def test_the_file_has_to_mean_what_runs(tmp_path: Path, told: Reloaded, why: str) -> None:
    desk, _ = upgrades(tmp_path, told)
    estate: Any = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run, estate, None)
        await trio.testing.wait_all_tasks_blocked()
        answer = await desk.order(UpgradeWanted(script(tmp_path, "exit 0")))
        nursery.cancel_scope.cancel()
    assert not answer.ok
    assert why in answer.detail


async def test_one_that_does_not_pass_its_test_leaves_everything_free(tmp_path: Path) -> None:
    desk, reloader = upgrades(tmp_path)
    estate: Any = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run, estate, None)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            answer = await desk.order(UpgradeWanted(script(tmp_path, "echo broken; exit 3")))
            assert "self-test failed (exit code 3): broken" in answer.detail
            assert not reloader.one.locked()
        assert not desk.given.is_set()
        nursery.cancel_scope.cancel()


async def test_there_is_one_at_a_time_and_none_when_the_appliance_stops(tmp_path: Path) -> None:
    desk, reloader = upgrades(tmp_path)
    answers: list[Upgraded] = []
    estate: Any = None

    async def ask() -> None:
        answers.append(await desk.order(UpgradeWanted(script(tmp_path, "exec sleep 1000"))))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run, estate, None)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)
            while not reloader.one.locked():
                await trio.sleep(0.01)
            assert "another upgrade is under way" in (await desk.order(UpgradeWanted("/x"))).detail
            desk.abandon()
            while not answers:
                await trio.sleep(0.01)
    assert "told to stop" in answers[0].detail
    assert "about to stop" in (await desk.order(UpgradeWanted("/x"))).detail


async def test_without_a_configuration_file_there_are_none(tmp_path: Path) -> None:
    desk = Upgrades(Origin(), None)
    estate: Any = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run, estate, None)
        await trio.testing.wait_all_tasks_blocked()
        assert "without a configuration file" in (await desk.order(UpgradeWanted("/bin/true"))).detail
        nursery.cancel_scope.cancel()


async def test_there_is_none_while_the_last_one_is_not_over(tmp_path: Path) -> None:
    desk, _ = upgrades(tmp_path)
    desk.former = 77
    answer = await desk.order(UpgradeWanted(script(tmp_path, "exit 0")))
    assert (answer.ok, "process 77" in answer.detail) == (False, True)
