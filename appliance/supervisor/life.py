"""One process of a replica, from its start or adoption to the proof that its tree is gone."""

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from appliance.config.schema import Runtime
from appliance.domain.secret import Secret
from appliance.domain.status import Footprint
from appliance.domain.targets import Address, Endpoint
from appliance.errors import OperatorError
from appliance.supervisor import cgroup, command, environment, listeners, records, scratch, spawn
from appliance.supervisor.launch import Launch
from appliance.supervisor.proc import Member, footprint
from appliance.supervisor.process import Process
from appliance.supervisor.records import Record, Saved
from appliance.supervisor.tail import Tail
from appliance.supervisor.tree import Tags, Tree
from appliance.supervisor.verdict import Cause, Verdict, judge

_STUBBORN_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica lives.

    Attributes:
        instance: the id of the state directory; tags every process.
        state_dir: what the engine compiles is kept below it.
        socket: where its engine listens, if it can.
        log: its output.
        run_dir: for what the next run of the appliance has to know; None keeps nothing.
        open_files: its soft and hard limit of open files; ours when absent.
        home: the cgroup that is ours to divide; None without one.
    """

    instance: str
    state_dir: Path
    socket: Path
    log: Path
    run_dir: Path | None = None
    open_files: tuple[int, int] | None = None
    home: cgroup.Home | None = None


@dataclass(slots=True)
class Life:
    """A process and what is known about it.

    Attributes:
        config: fingerprint of what it was started with.
        gpus: those that it may see; None left that to the engine.
        total: memory of the smallest of them, bytes.
        started, ready: monotonic seconds; `ready` is None before it was.
        progressed: when it last showed that it comes nearer to being ready.
        wedged: it does not end even when killed.
        gave_up: why it is being ended although nobody asked, in words, and as a class.
        oom_kills: how many processes the kernel had ended for memory at the look before the last and at the last, in
            its cgroup, or on the whole machine where it has none of its own. Of the two the older one counts: who is
            killed may take a while to end.
        footprint: what its processes used when they were looked at last.
    """

    process: Process
    tree: Tree
    endpoint: Endpoint
    tail: Tail
    config: str
    started: float
    gpus: tuple[int, ...] | None = None
    total: int | None = None
    ready: float | None = None
    progressed: float = 0.0
    wedged: bool = False
    gave_up: str = ""
    cause: Cause | None = None
    oom_kills: tuple[int, int] = (0, 0)
    footprint: Footprint = field(default_factory=Footprint)
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    def give_up(self, cause: Cause, words: str) -> None:
        """It has to end, and why."""
        self.cause, self.gave_up = cause, words

    async def not_ours(self) -> str:
        """Why nothing may be sent to its port; "" when it is its own. Sockets in our private directory always are."""
        address = self.endpoint.address
        if address.scheme == "unix":
            return ""

        def look() -> str:
            return listeners.foreign(address.host, address.port, self.tree.members()) or ""

        return await trio.to_thread.run_sync(look, limiter=self.limiter)

    async def look_around(self) -> None:
        """Remember who belongs to it while they live, and collect those who came to us when they died."""
        self.tree.reap()

        def look() -> int:
            self._weigh(self.tree.members())
            return _oom_kills(self.tree.leaf)

        self.oom_kills = self.oom_kills[1], await trio.to_thread.run_sync(look, limiter=self.limiter)

    def _weigh(self, members: set[Member]) -> None:
        now = footprint(members)
        # What has ended and was collected by nobody of theirs took its seconds along; a count must not fall for that.
        self.footprint = replace(now, cpu=max(now.cpu, self.footprint.cpu))

    async def end(self, grace: float, stubborn: Callable[[list[int]], None]) -> None:
        """Empty its tree, however long that takes; `stubborn` is told the pids that outlive a KILL."""
        while left := await self.tree.stop(grace):
            self.wedged = True
            stubborn(left)
            grace = 0.0
            await trio.sleep(_STUBBORN_PAUSE)
        self.process.collect()
        if self.endpoint.address.scheme == "unix":
            scratch.remove(Path(self.endpoint.address.host))
            with suppress(OSError):
                os.unlink(self.endpoint.address.host)  # noqa: PTH108 - no blocking more than a rename
        if isinstance(self.tree.leaf, cgroup.Leaf):
            self.tree.leaf.remove()

    def verdict(self) -> Verdict:
        """Why it ended or has to."""
        code = self.process.exit_code()
        self.tail.poll()
        ended = self.gave_up or spawn.exit_words(code)
        hint = self.cause
        if hint is None and code == -9 and _oom_kills(self.tree.leaf) > self.oom_kills[0]:
            hint = Cause.HOST_OOM
        return judge(self.tail.lines(), code, ended=ended, ready=self.ready is not None, hint=hint)


def planned(
    runtime: Runtime,
    address: Address,
    key: Secret,
    gpus: tuple[int, ...] | None,
    place: Place,
    *,
    total: int | None = None,
    temporary: Path | None = None,
) -> tuple[Launch, dict[str, str]]:
    """What would be started, and the variables that the program itself needs.

    Raises:
        OperatorError: there is no program, or the engine cannot be launched.
    """
    binary, needs = environment.find_binary(runtime)
    launch = command.build(
        runtime,
        binary,
        address,
        key,
        gpus=gpus,
        state_dir=place.state_dir,
        temporary=temporary,
        total=total,
        sleep=runtime.engine == "vllm" and runtime.sleep > 0,
    )
    return launch, needs


def begin(
    runtime: Runtime, replica: str, place: Place, gpus: tuple[int, ...] | None, now: float, total: int | None = None
) -> Life:
    """Start a process.

    Raises:
        OperatorError: it cannot be started; the text says why.
    """
    key = Secret(secrets.token_urlsafe(32))
    address = _address(runtime, replica, place)
    temporary = _temporary(runtime, replica, place)
    launch, needs = planned(runtime, address, key, gpus, place, total=total, temporary=temporary)
    tags = Tags(place.instance, replica)
    leaf = place.home.leaf(tags) if place.home else None
    killed = _oom_kills(leaf)
    tail = Tail(place.log, [key])
    inherited = environment.inherited({**needs, **launch.env, **tags.env()})
    process = spawn.launch(launch.argv, inherited, place.log, leaf=leaf, open_files=place.open_files)
    config = records.fingerprint(launch.argv, launch.env, [key])
    tree = Tree(process, tags, leaf)
    endpoint = Endpoint(address, key)
    return Life(process, tree, endpoint, tail, config, now, gpus, total, progressed=now, oom_kills=(killed, killed))


async def adopt(runtime: Runtime, place: Place, saved: Saved, now: float) -> "Life | str":
    """Take over the process of a record, or why not."""
    record, key = saved.record, saved.key
    if key is None:
        return "its key is lost"
    tags = Tags(place.instance, record.replica)
    try:
        gpus, total = record.placed, record.total or None
        if runtime.gpus is not None and not set(gpus or ()) <= set(runtime.gpus):
            return "its GPUs are others now"
        launch, _ = planned(runtime, record.address, key, gpus, place, total=total, temporary=_kept(runtime, place))
    except (OperatorError, ValueError) as error:
        return str(error)
    config = records.fingerprint(launch.argv, launch.env, [key])
    facts = await trio.to_thread.run_sync(records.facts_now, record, tags)  # may hang with a process that does
    if why := records.verify(record, facts, config):
        return why
    process = Process.adopt(record.pid, record.start, record.boot)
    if process is None:
        return "its process has ended"
    leaf = cgroup.adopt(record.cgroup, place.instance) if record.cgroup else None
    tree = Tree(process, tags, leaf)
    tail = Tail(place.log, [key])
    endpoint = Endpoint(record.address, key)
    killed = _oom_kills(leaf)
    return Life(process, tree, endpoint, tail, config, now, gpus, total, progressed=now, oom_kills=(killed, killed))


def save(life: Life, runtime: Runtime, replica: str, place: Place, *, date: float, learned: float) -> None:
    """Write down what the next run has to know; see `record_of`."""
    if place.run_dir is not None:
        record = record_of(life, runtime, replica, place, date=date, learned=learned)
        with suppress(OSError):  # a full disk: then the next run cannot adopt it, and removes it by its tag
            records.save(place.run_dir, record, life.endpoint.credential)


def record_of(life: Life, runtime: Runtime, replica: str, place: Place, *, date: float, learned: float) -> Record:
    """What the next run has to know; `date` is seconds since 1970."""
    address = life.endpoint.address
    return Record(
        replica=replica,
        runtime=runtime.name,
        pid=life.process.pid,
        start=life.process.start,
        boot=life.process.boot,
        scheme="unix" if address.scheme == "unix" else "http",
        host=address.host,
        port=address.port,
        config=life.config,
        log=str(place.log),
        cgroup=str(life.tree.leaf.path) if isinstance(life.tree.leaf, cgroup.Leaf) else "",
        started=date,
        ready=date if life.ready is not None else 0.0,
        learned=learned,
        gpus="-" if life.gpus is None else ",".join(map(str, life.gpus)),
        total=life.total or 0,
    )


def _oom_kills(leaf: object) -> int:
    counted = leaf.oom_kills if isinstance(leaf, cgroup.Leaf) else None
    return cgroup.oom_kills_of_machine() if counted is None else counted


def _temporary(runtime: Runtime, replica: str, place: Place) -> Path | None:
    if runtime.engine != "vllm":
        return None
    try:
        return scratch.fresh(place.socket)
    except OSError as error:
        raise OperatorError(f"no temporary directory for {replica}: {error}") from error


def _kept(runtime: Runtime, place: Place) -> Path | None:
    return scratch.directory(place.socket) if runtime.engine == "vllm" else None


def _address(runtime: Runtime, replica: str, place: Place) -> Address:
    try:
        if not command.wants_socket(runtime):
            return Address("http", "127.0.0.1", _free_port())
        place.socket.unlink(missing_ok=True)  # left by the last process; a bind to it would fail
    except OSError as error:
        raise OperatorError(f"no address for {replica}: {error}") from error
    return Address("unix", str(place.socket))


def _free_port() -> int:
    # Somebody may take it before the child does; the child then fails to bind, and the next start has another one.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
