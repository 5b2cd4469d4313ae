"""What an operator may ask of the supervisor, and what comes back.

Everything here is idempotent: asking for what already is succeeds and changes nothing. Names are a runtime's, which
means all its replicas, or one replica's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

Section_contra = TypeVar("Section_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order.

    Attributes:
        ok: it is now as was asked.
        changed: it was not so before.
        state: the state of the replica, or the one nearest to serving among several.
        detail: why not, or what else there is to know.
    """

    ok: bool
    changed: bool
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a runtime is, or would be, launched. Holds no secret: values of keys are masked.

    Attributes:
        runtime: its name.
        argv: the exact command line.
        env: variables that are set beside those that the child inherits.
        gpus: indices of its GPUs; empty when there are none.
        memory: bytes of GPU memory that it is taken to need on each GPU; 0 when unknown.
        memory_from: where that figure comes from.
        log: the file with its output.
        replicas: names of its replicas.
        notes: what the operator should know (a flag that wins over a setting, no fit at present).
        origins: the command line in parts, each with the setting or the reason that it comes from.
        address: where the first replica listens.
        fingerprint: a hash of its settings; a process with another one has to be restarted.
    """

    runtime: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    gpus: tuple[int, ...] = ()
    memory: int = 0
    memory_from: Literal["declared", "learned", "unknown"] = "unknown"
    log: str = ""
    replicas: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    origins: tuple[tuple[str, str], ...] = ()
    address: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a new configuration would do to one runtime.

    Attributes:
        runtime: its name.
        action: "update" changes settings that need no new process.
        settings: names of the settings that differ.
        detail: in words, with how its memory fits.
    """

    runtime: str
    action: Literal["add", "remove", "restart", "update", "keep"]
    settings: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a new configuration, or would.

    Attributes:
        ok: it is in effect, or could be.
        problems: why not, a line each.
        keys, models, backends, providers, guardrails: names of what was added, changed or removed.
        runtimes: what becomes of those that differ.
        settings: others whose new values are used at once.
        restart: settings whose new values are used after a restart of the appliance only.
    """

    ok: bool
    problems: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    runtimes: tuple[Change, ...] = ()
    restart: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()

    def words(self) -> str:
        """What changed, in one line."""
        parts = [f"runtime {change.runtime}: {change.action}" for change in self.runtimes]
        lists = ("keys", "models", "backends", "providers", "guardrails", "settings")
        named = tuple((what, getattr(self, what)) for what in lists)
        parts += [f"{what}: {', '.join(names)}" for what, names in named if names]
        parts += [f"after a restart: {', '.join(self.restart)}"] if self.restart else []
        return "; ".join(parts) or "nothing differs"


@dataclass(frozen=True, slots=True)
class UpgradeWanted:
    """An order for another binary in place of the running one.

    Attributes:
        binary: its whole path.
        patience: seconds that it may take to get ready.
    """

    binary: str
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What became of that.

    Attributes:
        ok: the other process serves.
        detail: why not.
        version: its version.
        pid: its pid.
    """

    ok: bool
    detail: str = ""
    version: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class LogPiece:
    """New lines of a replica's output, without secrets and control characters.

    Attributes:
        replica: whose.
        lines: oldest first.
        missed: how many before them are left out, because they came faster than they were taken.
        fresh: they are the first of another process than the lines before them.
    """

    replica: str
    lines: Sequence[str]
    missed: int = 0
    fresh: bool = False


class LogReader(Protocol):
    """Somebody who follows the output of a runtime or a replica. Closing it takes nothing: it holds only numbers."""

    async def receive(self, patience: float) -> LogPiece | None:
        """The next lines; None when there are none for `patience` seconds.

        Raises:
            GatewayError: `model_not_found`: it is not in the configuration any more.
        """
        ...


class Orders(Protocol[Section_contra]):
    """The supervisor as its operator sees it. `Section_contra` is a runtime's section of the
    configuration.

    Every method that takes a name raises GatewayError (`model_not_found`) for one that is neither a runtime nor a
    replica.
    """

    async def load(self, name: str) -> Outcome:
        """Start it, also out of quarantine, and return when it is ready or will not be so soon."""
        ...

    async def unload(self, name: str, *, force: bool = False) -> Outcome:
        """Stop it when its exchanges have ended, or at once with `force`; returns when its tree is gone.

        It is started again by the next request, or by `load`.
        """
        ...

    async def restart(self, name: str) -> Outcome:
        """`unload` and `load`."""
        ...

    async def drain(self, name: str) -> Outcome:
        """Give it no new work, and stop it when what it has is done. Does not wait for that."""
        ...

    def log_file(self, replica: str) -> Path:
        """The file with a replica's output, as the child wrote it: it may hold what `log_lines` masks."""
        ...

    def log_lines(self, replica: str, last: int) -> list[str]:
        """The last lines of a replica's output, oldest first, without secrets and control characters."""
        ...

    def follow(self, name: str, last: int) -> LogReader:
        """Follow the output of a runtime's replicas or of one, beginning with the `last` lines of each."""
        ...

    def explain(self, name: str) -> Explanation:
        """The exact command line and what it was made from."""
        ...

    def preview(self, runtimes: Sequence[Section_contra]) -> list[Change]:
        """What `apply` would do."""
        ...

    async def apply(self, runtimes: Sequence[Section_contra]) -> None:
        """Make these the runtimes: what did not change is not touched. Returns when the new wish is recorded."""
        ...
