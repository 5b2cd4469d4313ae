"""The scripted engine as a process: how it loads, what it starts beside itself, and how it ends."""

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import trio

from appliance.scripted import claims, lines
from appliance.scripted.engine import ScriptedEngine
from appliance.scripted.script import Script

_STEPS = 20
_WATCHDOG = 5.0  # seconds after which vLLM's server sees that its engine is dead


class _Ending:
    """The end of the process, decided by whoever is first."""

    def __init__(self) -> None:
        self.code = 0
        self.decided = trio.Event()

    def now(self, code: int) -> None:
        if not self.decided.is_set():
            self.code = code
            self.decided.set()


async def run(script: Script) -> int:
    """The whole process: serve until a signal or the script ends it. Returns the exit code.

    Raises:
        OSError: the address is taken or not allowed.
    """
    if script.grandchild:
        _spawn_grandchild()
    if script.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    ending = _Ending()
    memory = partial(_hold, script)
    engine = ScriptedEngine(script, memory=memory, loading=partial(_load, script, ending))
    core = _spawn_core() if script.engine_core else None
    try:
        async with trio.open_nursery() as nursery:
            if not script.ignore_term:
                await nursery.start(_end_on_signal, ending, int(script.ignore_first_term))
            nursery.start_soon(_live, script, engine, ending, core)
            await ending.decided.wait()
            nursery.cancel_scope.cancel()
    finally:
        if core is not None:
            core.kill()
            core.wait()
    if script.socket:
        await trio.Path(script.socket).unlink(missing_ok=True)
    return ending.code


def free_memory_of(pid: int, file: Path, after: float) -> None:
    """What the driver does: take back the memory of a process some time after its end, however it ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    else:
        select.select([handle], [], [])
    time.sleep(after)
    claims.release(file, pid)


async def _live(
    script: Script, engine: ScriptedEngine, ending: _Ending, core: "subprocess.Popen[bytes] | None"
) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(engine.serve)
        print(f"listening on {script.socket or f'{script.host}:{port}'}", flush=True)
        if script.log_flood:
            nursery.start_soon(_flood)
        await engine.loaded.wait()
        for block in lines.burst(script.log_burst):
            await trio.to_thread.run_sync(os.write, 1, block)
        print("model loaded", flush=True)
        if core is not None:
            nursery.start_soon(_watch_core, script, engine, ending, core)
        if script.crash_after is not None:
            await trio.sleep(script.crash_after)
            os.kill(os.getpid(), signal.SIGKILL)
        if script.exit_after_ready is not None:
            await trio.sleep(0.5)
            ending.now(script.exit_after_ready)


async def _load(script: Script, ending: _Ending) -> None:
    """Load for as long as the script says, or fail, or never come to an end."""
    if script.gpu_file and not _claim(script):
        await _fail(script, "vram_busy", ending)
    for step in range(_STEPS + 1):
        percent = 100 * step // _STEPS
        if script.progress:
            print(lines.progress(script.style, percent), flush=True)
        if script.fail and percent >= 50:
            await _fail(script, script.fail, ending)
        if script.stall_at is not None and percent >= script.stall_at:
            await trio.sleep_forever()
        if step < _STEPS:
            await trio.sleep(script.load_seconds / _STEPS)
    if script.progress:
        print("\n".join(lines.complete(script.style)), flush=True)


async def _fail(script: Script, why: str, ending: _Ending) -> None:
    code, words = lines.last_words(script.style, why)
    print("\n".join(words), flush=True)
    ending.now(code)
    await trio.sleep_forever()


def _claim(script: Script) -> bool:
    """Claim its memory, with a process beside us that plays the driver: it frees the memory even of the killed."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "appliance"]
    driver = ["_engine", "--free-memory-of", str(os.getpid())]
    driver += ["--gpu-file", script.gpu_file, "--gpu-release", str(script.gpu_release)]
    subprocess.Popen(
        [*program, *driver],
        # Not ours in any way that a supervisor could find: it stands for something outside.
        env={"PATH": os.defpath, "PYINSTALLER_RESET_ENVIRONMENT": "1"},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return _claimed(script, 1.0)


def _hold(script: Script, part: float) -> None:
    if script.gpu_file:
        _claimed(script, part)


def _claimed(script: Script, part: float) -> bool:
    gpus = [int(index) for index in script.gpus.split(",") if index]
    return claims.claim(Path(script.gpu_file), gpus, os.getpid(), int(script.gpu_memory * claims.MIB * part))


async def _watch_core(script: Script, engine: ScriptedEngine, ending: _Ending, core: "subprocess.Popen[bytes]") -> None:
    limit = float("inf") if script.engine_core_lives is None else trio.current_time() + script.engine_core_lives
    while core.poll() is None:
        if trio.current_time() >= limit:
            core.kill()
        await trio.sleep(0.02)
    engine.state.dead = True
    print("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", flush=True)
    if not script.keep_corpse:
        await trio.sleep(_WATCHDOG)
        ending.now(0)  # as vLLM does: a failure that calls itself success


async def _end_on_signal(
    ending: _Ending, swallow: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if swallow <= 0:
                ending.now(0)
            swallow -= 1


async def _flood() -> None:
    block = "".join(f"slot {slot} | task {slot} | nothing to see in this line of the log\n" for slot in range(200))
    while True:
        sys.stdout.write(block)
        await trio.sleep(0.001)


def _spawn_core() -> "subprocess.Popen[bytes]":
    # A plain process of our session under the name that vLLM's engine has.
    name = ["VLLM::EngineCore", "3600"]
    return subprocess.Popen(name, executable="/bin/sleep", stdin=subprocess.DEVNULL)


def _spawn_grandchild() -> None:
    # A signal that is ignored stays ignored across exec, so what sleeps is one plain process.
    subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; exec sleep 3600"], start_new_session=True)
