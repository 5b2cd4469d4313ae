"""What the replicas of runtimes do: states, starts, ends, and what their engines say about themselves."""

from collections.abc import Mapping

from appliance.domain.status import Footprint, Reading, ReplicaState, ReplicaStatus
from appliance.observe.engine_metrics import EngineMetrics
from appliance.observe.maker import Maker
from appliance.observe.process import started

S = ReplicaState
_WHO = ("runtime", "replica")
_LOAD = (0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 240, 480, 900, 1800, 3600)


class ReplicaMetrics:
    """The families, and what is told to them; `changed` and `dropped` are watchers of the fleet table."""

    def __init__(self, make: Maker) -> None:
        self._info = make.gauge(
            "appliance_replica_info", "Always 1; what a replica runs, and on which GPUs.", *_WHO, "engine", "gpus"
        )
        self._begins = make.gauge(
            "appliance_replica_start_time_seconds", "When a replica's process was started, Unix time.", *_WHO
        )
        self._missed = make.counter(
            "appliance_replica_probe_failures_total", "Health probes of a ready or sleeping replica that failed.", *_WHO
        )
        self._state = make.gauge("appliance_replica_state", "1 for the replica's current state.", *_WHO, "state")
        self._starts = make.counter("appliance_replica_starts_total", "Processes started for a replica.", *_WHO)
        self._restarts = make.counter(
            "appliance_replica_restarts_total", "Ends of a replica that nobody asked for.", *_WHO, "reason"
        )
        self._swaps = make.counter(
            "appliance_replica_swaps_total", "Times that a replica had to make room for another one.", *_WHO
        )
        self._load = make.histogram(
            "appliance_replica_load_seconds",
            "From the start or the waking of a replica until it is ready.",
            _LOAD,
            "runtime",
            "kind",
        )
        self._held = make.gauge(
            "appliance_replica_gpu_memory_bytes",
            "GPU memory that a replica needs on each of its GPUs, declared or learned; 0 when unknown.",
            *_WHO,
        )
        self._used = make.gauge(
            "appliance_replica_gpu_memory_used_bytes",
            "Memory of a GPU that a replica's processes hold, as its driver says.",
            *_WHO,
            "gpu",
        )
        self._cpu = make.counter("appliance_replica_cpu_seconds_total", "CPU time of a replica's processes.", *_WHO)
        self._resident = make.gauge(
            "appliance_replica_resident_bytes", "Memory of the machine that a replica's processes hold.", *_WHO
        )
        self._processes = make.gauge("appliance_replica_processes", "Processes of a replica.", *_WHO)
        self._engines = EngineMetrics(make)
        self._begun: dict[str, tuple[str, float]] = {}  # how and when those began that are not ready yet

    def changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written."""
        who = (after.runtime, after.replica)
        self._runs(who, after)
        for state in S:
            self._state[*who, str(state)].value = state is after.state
        self._held[who].value = after.memory
        self._starts[who].value = after.starts
        self._swaps[who].value += 0  # a series that is there before the first
        self._missed[who].value += 0
        self._restarts[*who, "crash"].value += 0
        crashes = after.restarts - (before.restarts if before else 0)
        if crashes > 0:
            self._restarts[*who, after.cause or "crash"].value += crashes
        self._time(before, after)
        if after.pid is None or after.state is S.SLEEPING:
            self._engines.gone(after.replica)
        if after.state is S.SLEEPING and (before is None or before.state is not S.SLEEPING):
            self._holds(who, {})  # it has just given that back
        if after.pid is None:
            for series in (self._cpu, self._resident, self._processes, self._begins):
                series.pop(who, None)
            self._holds(who, {})
        elif before is None or before.pid != after.pid:
            began = started(after.pid)
            if began is not None:
                self._begins[who].value = began

    def _runs(self, who: tuple[str, str], row: ReplicaStatus) -> None:
        labels = (*who, row.engine, ",".join(map(str, row.gpus)))
        if labels not in self._info:  # it is on other GPUs than before
            for former in [labels for labels in self._info if labels[:2] == who]:
                del self._info[former]
        self._info[labels].value = 1

    def _holds(self, who: tuple[str, str], memory: Mapping[int, int]) -> None:
        for labels in [labels for labels in self._used if labels[:2] == who]:
            del self._used[labels]
        for gpu, size in memory.items():
            self._used[*who, str(gpu)].value = size

    def probe_missed(self, row: ReplicaStatus) -> None:
        """A health probe of it failed."""
        self._missed[row.runtime, row.replica].value += 1

    def _time(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        was, state, name = before.state if before else S.STOPPED, after.state, after.replica
        if state is was:
            return
        if state is S.STARTING and not after.adopted:
            self._begun[name] = "cold", after.since
        elif was is S.SLEEPING and state is S.LOADING:
            self._begun[name] = "wake", after.since
        elif state is not S.LOADING:
            kind, since = self._begun.pop(name, ("", 0.0))
            if kind and state is S.READY:
                self._load[after.runtime, kind].observe(after.since - since)

    def made_room(self, row: ReplicaStatus) -> None:
        """A replica goes because another one needs its room."""
        self._swaps[row.runtime, row.replica].value += 1

    def weighed(self, row: ReplicaStatus, footprint: Footprint) -> None:
        """Its processes were looked at."""
        who = (row.runtime, row.replica)
        self._cpu[who].value = footprint.cpu
        self._resident[who].value = footprint.resident
        self._processes[who].value = footprint.processes
        self._holds(who, footprint.gpu_memory)

    def engine_told(self, row: ReplicaStatus, reading: Reading | None, seconds: float) -> None:
        """Its engine was asked for its own numbers; None when they did not come."""
        self._engines.told(row.runtime, row.replica, reading, seconds)

    def dropped(self, name: str) -> None:
        """There is no such replica any more, so there are no series of it."""
        ours = (self._info, self._state, self._starts, self._restarts, self._swaps, self._held, self._missed)
        for series in (*ours, self._used, self._begins, self._cpu, self._resident, self._processes):
            for labels in [labels for labels in series if labels[1] == name]:
                del series[labels]
        left = {labels[0] for labels in self._info}
        for times in [labels for labels in self._load if labels[0] not in left]:  # the runtime's own
            del self._load[times]
        self._begun.pop(name, None)
        self._engines.gone(name)
