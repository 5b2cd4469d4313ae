"""What is known about replicas, backends and models right now: the rows of the fleet table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from appliance.domain.calls import Operation
from appliance.domain.targets import Endpoint


class ReplicaState(StrEnum):
    """The life of a replica; `supervisor/states.py` has the table of transitions."""

    STOPPED = "stopped"
    STARTING = "starting"  # the process exists, its endpoint does not answer yet
    LOADING = "loading"  # the endpoint answers "not yet"
    READY = "ready"
    DRAINING = "draining"  # no new work; streams may finish
    STOPPING = "stopping"  # signals sent, tree not proved empty yet
    BACKOFF = "backoff"  # it ended by itself; the next start waits
    QUARANTINED = "quarantined"  # starting it again would fail again; waits for a change or the operator
    BLOCKED = "blocked"  # the GPU memory that it needs is held by others
    SLEEPING = "sleeping"  # the process lives and has given its GPU memory back


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica as its owner task last wrote it.

    Attributes:
        runtime: the runtime's name.
        replica: the replica's own name: the runtime's, or `name@1`, `name@2` … where it has several.
        engine: a key of `domain.engines.ENGINES`, or "command".
        state: where it is in its life.
        since: monotonic seconds when it entered the state.
        reason: why it is in this state, in words for the operator ("" when nothing needs saying).
        progress: what a loading model last reported ("" when unknown).
        pid: of the top process; None when there is none.
        restarts: crashes since the appliance started.
        endpoint: where it answers; None unless a process exists.
        healthy: the last probe of a ready replica succeeded.
        stage: what it is loading ("" when unknown).
        percent: of the stage, 0 to 100; None when unknown.
        cause: class of the last failure, a word of `supervisor.verdict.Cause` ("" when there was none).
        advice: what the operator should do ("" when nothing).
        gpus: indices of the GPUs that it uses.
        memory: bytes of GPU memory, declared or learned; 0 when unknown.
        adopted: the process was started by an earlier run of the appliance.
        starts: processes started since the appliance started.
        slots: requests that it works on at once, as it said itself or as configured; 0 when unknown.
        owed: it ought to serve and does not yet: since the server started, or since it failed. What nobody asked for,
            sleeps, made room for another, or waits for others who would go for a request is owed to nobody.
    """

    runtime: str
    replica: str
    engine: str
    state: ReplicaState
    since: float
    reason: str = ""
    progress: str = ""
    pid: int | None = None
    restarts: int = 0
    endpoint: Endpoint | None = None
    healthy: bool = True
    stage: str = ""
    percent: float | None = None
    cause: str = ""
    advice: str = ""
    gpus: tuple[int, ...] = ()
    memory: int = 0
    adopted: bool = False
    starts: int = 0
    slots: int = 0
    owed: bool = False


class Measure(StrEnum):
    """What a model server says about itself in numbers; `observe.engine_metrics` has the names of the metrics.

    Counters count from the start of the engine's process.
    """

    RUNNING = "running"  # requests that it works on
    WAITING = "waiting"  # requests in its own line
    CACHE_USED = "cache_used"  # share of its KV cache in use, from 0 to 1
    PREFIX_QUERIED = "prefix_queried"  # prompt tokens that it looked up in its prefix cache
    PREFIX_HIT = "prefix_hit"  # those that it found there
    PROMPT = "prompt"  # prompt tokens, from the cache or not
    PREFILLED = "prefilled"  # prompt tokens that it had to compute
    GENERATED = "generated"  # tokens that it made
    PREEMPTED = "preempted"  # requests put back because its KV cache was full
    DRAFTED = "drafted"  # tokens that speculative decoding guessed
    ACCEPTED = "accepted"  # those that were right
    QUEUE_SECONDS = "queue_seconds"  # of all requests, in its own line
    PREFILL_SECONDS = "prefill_seconds"
    DECODE_SECONDS = "decode_seconds"
    REFUSED = "refused"  # requests that it would not take
    STOPPED = "stopped"  # requests that came to an end of their own
    LENGTH = "length"  # requests that had all the tokens they may have
    ABORTED = "aborted"  # requests that somebody left
    FAILED = "failed"  # requests that ended with an error


Reading = Mapping[Measure, float]
"""What was told; what was not is not in it."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What all processes of a replica use of the machine together.

    Attributes:
        cpu: seconds since they began, of those too that have ended and were collected by their parents.
        resident: bytes in memory; what several of them share counts for each.
        processes: how many there are.
        gpu_memory: bytes that they hold, by the index of the GPU; empty where that cannot be known.
    """

    cpu: float = 0.0
    resident: int = 0
    processes: int = 0
    gpu_memory: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of an engine's own `/v1/models`.

    Attributes:
        id: the name the engine knows the model by.
        fields: everything else that the engine said about it, passed on to clients.
    """

    id: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One backend as the prober last saw it.

    Attributes:
        name: from the config.
        engine: a key of `domain.engines.ENGINES`.
        endpoint: where it listens.
        healthy: the last probe; None before the first.
        reason: why it is not healthy, in words.
        since: monotonic seconds of the last change of `healthy`.
        models: what it listed last; kept while it is down.
        cannot: operations that it was seen not to offer (for instance vLLM's 404 on embeddings).
    """

    name: str
    engine: str
    endpoint: Endpoint
    healthy: bool | None = None
    reason: str = ""
    since: float = 0.0
    models: tuple[ModelCard, ...] = ()
    cannot: frozenset[Operation] = frozenset()


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one health probe saw.

    Attributes:
        ok: the server can serve.
        loading: it answers, and says "not yet"; that is progress, not a fault.
        detail: why it is not ok, in words ("" when it is).
        body: the reply's body, at most 1 MiB.
    """

    ok: bool
    loading: bool = False
    detail: str = ""
    body: bytes = b""
