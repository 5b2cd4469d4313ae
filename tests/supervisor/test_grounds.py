import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor import environment, grounds

S = ReplicaState


class Stand:
    """A replica that a test can put into quarantine."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"model")
        self.path = path
        self.runtime = Runtime(name="m", engine="command", command=("/bin/true",), model=str(path))
        self.status = ReplicaStatus("m", "m", "command", S.QUARANTINED, 0.0)
        self.ground: grounds.Ground | None = environment.ground(self.runtime)
        self.wanted = trio.Event()

    def want(self) -> None:
        self.wanted.set()
        self.status = replace(self.status, state=S.STOPPED)


async def test_a_change_since_its_start_starts_it_again_however_early_it_came(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "m.gguf")
    stand.path.write_bytes(b"another model")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(grounds.watch, {"m": stand})
            await stand.wanted.wait()
            nursery.cancel_scope.cancel()


async def test_what_is_as_it_was_or_in_no_quarantine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounds, "_EVERY", 0.01)
    same, ready = Stand(tmp_path / "same"), Stand(tmp_path / "ready")
    ready.path.write_bytes(b"another model")
    ready.status = replace(ready.status, state=S.READY)
    unknown = Stand(tmp_path / "unknown")
    unknown.ground = None  # as after the adoption of a process
    with trio.move_on_after(0.5):
        await grounds.watch({"same": same, "ready": ready, "unknown": unknown})
    assert not any(stand.wanted.is_set() for stand in (same, ready, unknown))
    assert unknown.ground == environment.ground(unknown.runtime)


async def test_a_file_system_that_hangs_holds_up_one_thread_and_one_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, fine = Stand(tmp_path / "hangs"), Stand(tmp_path / "fine")
    over, real, threads = threading.Event(), environment.ground, []

    def ground(runtime: Runtime) -> grounds.Ground:
        if runtime is hangs.runtime:
            threads.append(threading.current_thread())
            over.wait(20)
        return real(runtime)

    monkeypatch.setattr(environment, "ground", ground)
    monkeypatch.setattr(grounds, "_PATIENCE", 0.05)
    monkeypatch.setattr(grounds, "_EVERY", 0.01)
    try:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(grounds.watch, {"hangs": hangs, "fine": fine})
                await trio.sleep(0.3)
                fine.path.write_bytes(b"another model")
                await fine.wanted.wait()
                nursery.cancel_scope.cancel()
    finally:
        over.set()
    assert len(threads) == 1
