"""Random orders, requests, signals, reloads and ends of the appliance itself, on real processes.

A seeded walk; whatever it did, the state that is asked for at its end is reached, and then nothing is left of it: no
process, no socket, no file. The gate does a short one, `make soak-supervisor` a thousand steps (SEED=… another walk).
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config.schema import Config, Runtime, Server
from appliance.config.units import Seconds
from appliance.domain.orders import Outcome
from appliance.domain.status import ReplicaState
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.observe.metrics import Metrics
from appliance.parts import _supervisor
from appliance.supervisor.orders import Operator
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.tree import Tags, tagged
from appliance.telling import Telling
from appliance.upstream.probe import send
from appliance.upstream.upstreams import Upstreams

STEPS = int(os.environ.get("SOAK_STEPS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 5 * STEPS)]
S = ReplicaState
CALM = 90.0  # seconds for the wished state to come about; a machine with other work needs some of them
FLAGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": ((), {"start": "boot"}),
    "stubborn": (("--ignore-term", "--grandchild"), {}),
    "vllm": (("--engine-core", "--style", "vllm"), {"exclusive": "big", "canary": True}),
    "slow": (("--load-seconds", "0.7", "--progress"), {"exclusive": "big", "idle_stop": Seconds(2)}),
    "twins": (("--ignore-first-term",), {"replicas": 2}),
}
CALL = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":2}'


def runtime(name: str, variant: int) -> Runtime:
    flags, settings = FLAGS[name]
    engine = (sys.executable, "-m", "appliance", "_engine", "--socket", "{socket}", "--model", f"{name}-{variant}")
    limits: dict[str, Any] = {"stop_grace": Seconds(0.6), "dead_limit": Seconds(2), "stall_limit": Seconds(3)}
    start: dict[str, Any] = {"start": "on-demand"}
    return Runtime(
        name=name, engine="command", command=(*engine, *flags), kinds=("chat",), **(start | limits | settings)
    )


class Walk:
    """One supervisor after another on the same state directory, and what happens to them."""

    def __init__(self, state_dir: Path, seed: int) -> None:
        self.state_dir = state_dir
        self.random = random.Random(seed)
        self.variants = dict.fromkeys(FLAGS, 0)
        self.done: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.waiting = 0
        self.trail: list[str] = []
        self.supervisor: Supervisor
        self.operator: Operator
        self.upstreams = Upstreams()
        self.background: trio.Nursery

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        return tuple(runtime(name, variant) for name, variant in self.variants.items())

    @asynccontextmanager
    async def appliance(self) -> AsyncIterator[None]:
        """One run of it. `self.supervisor._leaving` makes its end one that leaves the processes alone."""
        server = Server(
            state_dir=str(self.state_dir), probe_interval=Seconds(0.2), load_wait=Seconds(30), drain=Seconds(1),
            residence=Seconds(0),
        )  # fmt: skip
        fleet = FleetTable()
        config, metrics = Config(server=server, runtimes=self.runtimes), Metrics()
        self.supervisor = _supervisor(config, fleet, self.upstreams, None, metrics.replicas, Telling(config, fleet))
        self.operator = Operator(self.supervisor, state_dir=self.state_dir, patience=30, drain=1)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.supervisor.run)
            nursery.start_soon(self._one_tree_each)
            async with trio.open_nursery() as self.background:
                yield
                self.background.cancel_scope.cancel()  # who waits when the appliance ends waits no more
            nursery.cancel_scope.cancel()

    async def _one_tree_each(self) -> None:
        """Never two engines for one replica, whatever happens."""
        while True:
            for name in list(self.supervisor.replicas):
                assert len(await self.engines(name)) <= 1, f"{name}\n" + "\n".join(self.trail)
            await trio.sleep(0.3)

    @property
    def instance(self) -> str:
        return (self.state_dir / "instance").read_text().strip()

    async def engines(self, replica: str) -> list[int]:
        """The engines of a replica that are on their way, without what they have started."""

        def look() -> list[int]:
            marks = Tags(self.instance, replica).marks
            found = []
            for pid in (member.pid for member in tagged(self.instance)):
                with suppress(OSError):
                    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if set(marks) <= set(environ) and b"_engine" in line and b"--socket" in line:
                        found.append(pid)
            return found

        return await trio.to_thread.run_sync(look)

    # ── the steps ──

    async def step(self) -> None:
        steps = {
            self.order: 30, self.ask: 30, self.hit: 22, self.reload: 8, self.rest: 10,
        }  # fmt: skip
        (step,) = self.random.choices(list(steps), list(steps.values()))
        await step()

    def note(self, what: str, which: object = "") -> None:
        self.done[what] += 1
        self.trail = [*self.trail[-30:], f"{time.monotonic():.2f} {what} {which}"]

    async def order(self) -> None:
        name = self.random.choice([*self.variants, "twins@2"])
        what = self.random.choice(["load", "unload", "restart", "drain"])
        self.note(what, name)
        give = partial(self._give, getattr(self.operator, what), name)
        if self.random.random() < 0.5:
            self.background.start_soon(give)
        else:
            await give()

    async def _give(self, order: Callable[[str], Awaitable[Outcome]], name: str) -> None:
        try:
            outcome = await order(name)
        except GatewayError as error:  # a reload has just taken it away
            assert error.code == "model_not_found"  # noqa: PT017 - the only one that an order may end with
        else:
            self.answers["ok" if outcome.ok else outcome.state] += 1

    async def ask(self) -> None:
        name = self.random.choice(list(self.variants))
        count = self.random.choice([1, 1, 3, 10])
        self.note("ask", f"{name} x{count}")
        for _ in range(count):
            patience = self.random.choice([0.1, 1.0, 40.0])
            self.background.start_soon(self._ask, name, patience, self.random.random() * 0.3)

    async def _ask(self, name: str, patience: float, holds: float) -> None:
        self.waiting += 1
        try:
            with trio.move_on_after(patience) as scope:
                lease = await self.supervisor.ensure_ready(name)
                try:
                    await send(self.upstreams, lease.endpoint, "POST", "/v1/chat/completions", CALL, timeout=10)
                    await trio.sleep(holds)
                    self.answers["answered"] += 1
                finally:
                    lease.release()
            self.answers["left"] += scope.cancelled_caught
        except GatewayError as error:
            self.answers[error.code] += 1
        except OSError:
            self.answers["hit while it answered"] += 1
        finally:
            self.waiting -= 1

    async def hit(self) -> None:
        members = sorted(member.pid for member in await trio.to_thread.run_sync(tagged, self.instance))
        if members:
            pid = self.random.choice(members)
            number = self.random.choice(
                [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT]
            )
            self.note(number.name, pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def reload(self) -> None:
        name = self.random.choice(list(FLAGS))
        if name in self.variants and len(self.variants) > 3 and self.random.random() < 0.3:
            del self.variants[name]
        else:
            self.variants[name] = self.variants.get(name, 0) + 1
        self.note("reload", f"{name} {self.variants.get(name)}")
        await self.operator.apply(self.runtimes)

    async def rest(self) -> None:
        self.note("rest")
        await trio.sleep(self.random.random() * 1.5)

    # ── the end ──

    async def settle(self) -> None:
        """Ask for a state and see it come, all of it answering."""
        for name in FLAGS:
            self.variants.setdefault(name, 0)
        await self.operator.apply(self.runtimes)
        up = {"plain", "twins", self.random.choice(["vllm", "slow"])}
        with trio.move_on_after(CALM) as calm:
            while self.waiting:  # every waiter gets an answer
                await trio.sleep(0.05)
            while not await self._as_wished(up):
                for name in FLAGS:
                    with suppress(GatewayError):
                        outcome = await (self.operator.load(name) if name in up else self.operator.unload(name))
                        self.note("settle", f"{name}: {outcome}")
                await trio.sleep(0.1)
        assert not calm.cancelled_caught, "\n".join(
            [f"{self.waiting} wait; wished: {sorted(up)}", *map(str, self.supervisor.views()), *self.trail]
        )
        for name in up:
            lease = await self.supervisor.ensure_ready(name)
            status, _ = await send(self.upstreams, lease.endpoint, "POST", "/v1/chat/completions", CALL)
            lease.release()
            assert status == 200
        for name, replica in self.supervisor.replicas.items():
            runtime, engines = replica.runtime.name, await self.engines(name)
            assert len(engines) == (runtime in up), name
            for pid in engines:
                words = await trio.Path(f"/proc/{pid}/cmdline").read_bytes()
                assert f"{runtime}-{self.variants[runtime]}".encode() in words, "of the last configuration"

    async def _as_wished(self, up: set[str]) -> bool:
        await trio.lowlevel.checkpoint()
        rows = [(replica.runtime.name in up, replica) for replica in self.supervisor.replicas.values()]
        return {replica.runtime.name for _, replica in rows} == set(FLAGS) and all(
            replica.status.state is S.READY if wished else replica.status.state is S.STOPPED and replica.life is None
            for wished, replica in rows
        )


def open_files() -> Counter[str]:
    """What our file descriptors are, by kind: "socket", "/dev/null", "anon_inode"."""
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found[str(entry.readlink()).partition(":[")[0]] += 1
    return found


def children() -> list[str]:
    """Processes that the kernel counts as ours, dead or alive."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            int(entry.name)
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                found.append(f"{entry.name} {name.replace(' ', '_')} {rest.split()[0]}")
    return found


def collect_for_init() -> None:
    """Zombies of what a new run has just removed: in life it is another process, and they are not its children."""
    for child in children():
        pid, name, state = child.split(" ")
        if (name, state) == ("sleep", "Z"):
            os.waitpid(int(pid), os.WNOHANG)


async def test_whatever_happened_the_wished_state_comes_and_nothing_is_left(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "s", SEED)
    beside, files = set(children()), open_files()
    began, left = time.monotonic(), STEPS
    while left:
        this_run = min(left, walk.random.randint(20, 60))
        left -= this_run
        async with walk.appliance():
            collect_for_init()
            for _ in range(this_run):
                await walk.step()
                await trio.sleep(walk.random.random() * 0.2)
            if left:
                walk.note("appliance ends")
                walk.supervisor.gone = True
            else:
                await walk.settle()
    await walk.upstreams.aclose()
    print(f"\n{STEPS} steps (seed {SEED}) in {time.monotonic() - began:.0f} s: {dict(walk.done)}; {dict(walk.answers)}")
    assert tagged(walk.instance) == set()
    assert not set(children()) - beside
    rest = {
        str(path.relative_to(walk.state_dir))
        for path in walk.state_dir.rglob("*")
        if path.is_file() or path.is_socket()
    }
    assert not {name for name in rest if name.startswith("run/")}, "no socket, no record, no key"
    assert {name for name in rest if not name.startswith("logs/")} <= {"lock", "instance", "learned.json"}
    assert open_files() - files == Counter()
