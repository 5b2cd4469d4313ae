import sys
from pathlib import Path

import httpx
import pytest
import trio

from appliance.config.schema import Config, Runtime, Server
from appliance.domain.secret import Secret
from appliance.errors import OperatorError
from appliance.serve import Running, serve


def config(state: Path, **server: object) -> Config:
    command = (sys.executable, "-m", "appliance", "_engine", "--socket", "{socket}")
    return Config(
        server=Server(listen="127.0.0.1:0", state_dir=str(state), **server),  # type: ignore[arg-type]
        runtimes=(Runtime(name="m", engine="command", command=command, start="on-demand"),),
    )


async def test_it_serves_until_cancelled_and_answers_in_between(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[Running]) -> None:
            await serve(config(tmp_path), api_keys=[Secret("k-123456")], listen_signals=False, task_status=task_status)

        running = await nursery.start(run)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
            chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            reply = await client.post("/v1/chat/completions", json=chat, headers={"x-api-key": "k-123456"}, timeout=30)
            assert reply.status_code == 200
        nursery.cancel_scope.cancel()


async def test_a_taken_port_is_an_operators_mistake(tmp_path: Path) -> None:
    taken = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken[0].socket.getsockname()[1]
    broken = Config(server=Server(listen=f"127.0.0.1:{port}", state_dir=str(tmp_path)))
    with pytest.raises(OperatorError, match="another program"):
        await serve(broken, listen_signals=False)
    for listener in taken:
        await listener.aclose()
