import argparse
from functools import partial

import httpx
import pytest
import trio

from appliance.cli import selftest
from appliance.config.schema import Config
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import OperatorError
from appliance.fleet.table import FleetTable
from appliance.scripted.engine import ScriptedEngine
from appliance.scripted.script import Script
from appliance.serve import Running


def test_the_engine_is_started_from_this_very_program() -> None:
    assert selftest.engine_command("/bin/appliance", frozen=True)[:2] == ("/bin/appliance", "_engine")
    assert selftest.engine_command("/bin/python", frozen=False)[:4] == ("/bin/python", "-m", "appliance", "_engine")


def test_it_listens_on_a_free_port_of_loopback_only() -> None:
    assert selftest.build_config("/s", ["x"]).server.listen == "127.0.0.1:0"


async def check(script: Script, step: str) -> None:
    engine = ScriptedEngine(script)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(engine.serve)
        await engine.loaded.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            problem = None
            try:
                await getattr(selftest, step)(client)
            except selftest.CheckFailed as error:
                problem = error
        nursery.cancel_scope.cancel()
    if problem:
        raise problem


async def test_good_replies_pass() -> None:
    await check(Script(), "check_whole")
    await check(Script(), "check_stream")


@pytest.mark.parametrize(
    ("script", "step", "told"),
    [
        (Script(status=500), "check_whole", "status 500"),
        (Script(tokens=3), "check_whole", "usage"),
        (Script(status=500), "check_stream", "status 500"),
        (Script(truncate_after_tokens=3), "check_stream", "DONE"),
        (Script(only_done=True), "check_stream", "0 tokens"),
    ],
)
async def test_each_step_tells_what_is_wrong(script: Script, step: str, told: str) -> None:
    with pytest.raises(selftest.CheckFailed, match=told):
        await check(script, step)


def fake_serve(monkeypatch: pytest.MonkeyPatch, state: ReplicaState, error: Exception | None = None) -> None:
    async def serve(
        config: Config, *, api_keys: tuple[Secret, ...], listen_signals: bool, task_status: trio.TaskStatus[Running]
    ) -> None:
        if error:
            raise error
        fleet = FleetTable()
        fleet.set_replica(ReplicaStatus("selftest", "selftest", "command", state, 0.0, "it fell over"))
        async with trio.open_nursery() as nursery:
            port = await nursery.start(ScriptedEngine(Script()).serve)
            task_status.started(Running("127.0.0.1", port, fleet))

    monkeypatch.setattr(selftest, "serve", serve)


def test_success_is_zero_and_tells_every_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_serve(monkeypatch, ReplicaState.READY)
    assert selftest.run(argparse.Namespace(config=None)) == 0
    assert capsys.readouterr().out.count("ok ") == 7


def test_failure_is_one_and_tells_the_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_serve(monkeypatch, ReplicaState.BACKOFF)
    assert selftest.run(argparse.Namespace(config=None)) == 1
    assert "FAILED  the model process ended: it fell over" in capsys.readouterr().err
    fake_serve(monkeypatch, ReplicaState.READY, OperatorError("no state directory"))
    assert selftest.run(argparse.Namespace(config=None)) == 1
    assert "FAILED  no state directory" in capsys.readouterr().err


async def test_it_gives_up_after_its_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], autojump_clock: trio.abc.Clock
) -> None:
    async def serve(config: Config, *, task_status: trio.TaskStatus[Running], **rest: object) -> None:
        task_status.started(Running("127.0.0.1", 1, FleetTable()))
        await trio.sleep_forever()

    monkeypatch.setattr(selftest, "serve", serve)
    assert await selftest._bounded(partial(print)) == 1
    assert "not finished within 60 s" in capsys.readouterr().err
