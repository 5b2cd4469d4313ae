"""A supervisor on a state directory, with model servers that are lines of Python."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.config.schema import Runtime
from appliance.config.units import Seconds
from appliance.domain.status import ProbeAnswer, ReplicaState
from appliance.domain.targets import Endpoint
from appliance.fleet.table import FleetTable
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.tree import tagged
from appliance.supervisor.watching import Senses

# Listens on the socket it is given; the probe connects to it.
SERVER = """
import socket, sys
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); print('listening', flush=True)
while True: server.accept()
"""
SILENT = "import time; time.sleep(60)"
BROKEN = "print('error: bad model'); raise SystemExit(1)"


def runtime(script: str = SERVER, **settings: Any) -> Runtime:
    command = (sys.executable, "-c", script, "{socket}")
    defaults: dict[str, Any] = {"name": "m", "start": "on-demand", "stop_grace": Seconds(1)}
    return Runtime(engine="command", command=command, **(defaults | settings))


async def connects(endpoint: Endpoint, path: str) -> ProbeAnswer:
    try:
        stream = await trio.open_unix_socket(endpoint.address.host)
    except OSError as error:
        return ProbeAnswer(ok=False, detail=str(error))
    await stream.aclose()
    return ProbeAnswer(ok=True)


class Box:
    """A supervisor and the table that it writes. `settings` are the supervisor's."""

    def __init__(self, state_dir: Path, *runtimes: Runtime, limit: float = 10, **settings: Any) -> None:
        self.state_dir = state_dir
        self.fleet = FleetTable()
        self._limit = limit
        self.supervisor = Supervisor(
            runtimes,
            state_dir=state_dir,
            fleet=self.fleet,
            senses=Senses(connects, lambda: 1.0, lambda: 1.8e9, 0.2),
            **({"load_wait": 5, "load_queue": 256} | settings),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        """It runs for `limit` seconds at most, and nothing of it is left."""
        with trio.fail_after(self._limit):
            async with trio.open_nursery() as nursery:
                await nursery.start(self.supervisor.run)
                yield self.supervisor
                nursery.cancel_scope.cancel()
        assert tagged((self.state_dir / "instance").read_text().strip()) == set()

    def state(self, name: str = "m") -> ReplicaState:
        return self.fleet.snapshot().replicas[name].state
