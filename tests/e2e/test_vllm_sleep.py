"""The real vLLM goes through the motions of sleep. On a CPU it only pauses: no memory is given back."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Literal

import httpx
import pytest
import trio

from appliance.config.schema import Runtime
from appliance.domain.targets import Address
from appliance.supervisor.command import build
from appliance.supervisor.environment import find_binary, inherited
from appliance.supervisor.sleep import put_to_sleep, wake
from appliance.supervisor.vllm import DEVELOPER_MODE

PROGRAM = os.environ.get("VLLM_BIN", "")
MODEL = os.environ.get("VLLM_TINY_MODEL", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not (PROGRAM and MODEL), reason="needs VLLM_BIN and VLLM_TINY_MODEL; see `make test-vllm`"),
]


async def nothing_to_read() -> int | None:
    await trio.lowlevel.checkpoint()
    return None


async def test_it_sleeps_hangs_and_wakes_from_both_levels(tmp_path: Path) -> None:
    runtime = Runtime(
        name="tiny",
        engine="vllm",
        binary=PROGRAM,
        model=MODEL,
        context=512,
        args=("--enforce-eager",),
        env={"VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    binary, needs = find_binary(runtime)
    launch = build(runtime, binary, Address("unix", str(tmp_path / "s")), None, state_dir=tmp_path)
    # The flag that goes with it is refused on a CPU.
    variables = inherited({**needs, **launch.env, DEVELOPER_MODE: "1"})
    process = started(launch.argv, variables, tmp_path / "log")
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "s"))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=30) as client:
            await ready(client, process)
            for level in (1, 2):
                await a_night(client, level)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def started(argv: tuple[str, ...], variables: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(argv, env=variables, stdout=output, stderr=output, start_new_session=True)


async def ready(client: httpx.AsyncClient, process: "subprocess.Popen[bytes]") -> None:
    with trio.fail_after(300):
        while True:
            try:
                if (await client.get("/health")).status_code == 200:
                    return
            except httpx.TransportError:
                assert process.poll() is None
            await trio.sleep(0.5)


async def a_night(client: httpx.AsyncClient, level: Literal[1, 2]) -> None:
    async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        reply = await client.request(method, path, content=body, headers={"content-type": "application/json"})
        return reply.status_code, reply.content

    async def canary() -> str:
        ask = {"model": "tiny", "prompt": "one", "max_tokens": 1}
        reply = await client.post("/v1/completions", json=ask)
        return "" if reply.status_code == 200 else f"it answers {reply.status_code}"

    assert await canary() == ""
    began = time.monotonic()
    turn = await put_to_sleep(level, send, nothing_to_read)
    asleep = time.monotonic() - began
    assert (turn.ok, turn.verified) == (True, False), turn
    assert (await client.get("/health")).status_code == 200
    with trio.move_on_after(2) as hanging:
        await canary()
    assert hanging.cancelled_caught
    began = time.monotonic()
    turn = await wake(level, send, canary)
    print(f"level {level}: asleep after {asleep:.2f} s, awake after {time.monotonic() - began:.2f} s")
    assert turn.ok, turn
