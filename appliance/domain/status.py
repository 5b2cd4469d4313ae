"""What is known about replicas, backends and models right now: the rows of the fleet table."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica as its owner task last wrote it.

    Attributes:
        runtime: the runtime's name.
        replica: the replica's own name.
        engine: a key of `domain.engines.ENGINES`, or "command".
        state: where it is in its life.
        since: monotonic seconds when it entered the state.
        reason: why it is in this state, in words for the operator ("" when nothing needs saying).
        progress: what a loading model last reported ("" when unknown).
        pid: of the top process; None when there is none.
        restarts: crashes since the appliance started.
        endpoint: where it answers; None unless a process exists.
        healthy: the last probe of a ready replica succeeded.
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
