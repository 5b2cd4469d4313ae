"""How a runtime is, or would be, launched, for the person who wrote its settings: every word with its origin."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from appliance.config.masking import MASK, command_line
from appliance.config.schema import Runtime
from appliance.domain.orders import Explanation
from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.errors import OperatorError
from appliance.supervisor import command, environment
from appliance.supervisor.launch import Launch

_DEFAULT_SHARE = "no memory is declared: vLLM takes nine tenths of each GPU"


def fingerprint(runtime: Runtime) -> str:
    """A short hash of the settings that a process was started with; another one means that it has to be restarted."""
    return hashlib.sha256(msgspec.json.encode(runtime, enc_hook=str, order="sorted")).hexdigest()[:16]


def log_path(state_dir: Path, replica: str) -> Path:
    """The file with a replica's output."""
    return state_dir / "logs" / f"{quote(replica, safe='@')}.log"


def replica_names(runtime: Runtime) -> tuple[str, ...]:
    """The names of a runtime's replicas: its own, or numbered from 1 when there are several."""
    if runtime.replicas == 1:
        return (runtime.name,)
    return tuple(f"{runtime.name}@{number}" for number in range(1, runtime.replicas + 1))


def share_of(runtime: Runtime, replica: str) -> tuple[int, ...] | None:
    """The GPUs of one replica where nobody can say which are free: an equal part of those that the config names."""
    if runtime.gpus is None or runtime.replicas == 1:
        return runtime.gpus
    width = width_of(runtime)
    first = replica_names(runtime).index(replica) * width
    return runtime.gpus[first : first + width] or runtime.gpus[:width]


def width_of(runtime: Runtime) -> int:
    """How many GPUs a replica takes: those that the config names are divided among the replicas."""
    if runtime.gpus is None:
        return 1
    return max(1, len(runtime.gpus) // runtime.replicas) if runtime.gpus else 0


def explain(
    runtime: Runtime,
    state_dir: Path,
    *,
    gpus: tuple[int, ...] | None = None,
    total: int | None = None,
    address: Address | None = None,
    notes: Sequence[str] = (),
) -> Explanation:
    """How the first replica of a runtime is launched. Starts nothing.

    Args:
        runtime: from the config.
        state_dir: for logs, sockets and what is compiled.
        gpus: its GPUs, where they have been chosen; else those that the config names.
        total: memory of the smallest of them, bytes; None when unknown.
        address: where it listens; else the place where it would.
        notes: what the caller knows beside.
    """
    replicas = replica_names(runtime)
    gpus = share_of(runtime, replicas[0]) if gpus is None else gpus
    address = address or _address(runtime, state_dir, replicas[0])
    told = list(notes)
    try:
        binary, needs = environment.find_binary(runtime)
    except OperatorError as error:
        told.insert(0, str(error))
        binary, needs = {"llama.cpp": "llama-server"}.get(runtime.engine, runtime.engine), {}
    launch = command.build(runtime, binary, address, Secret(MASK), gpus=gpus, state_dir=state_dir, total=total)
    told += _overrides(launch)
    if runtime.engine == "vllm" and runtime.memory is None:
        told.append(_DEFAULT_SHARE)
    elif runtime.engine == "vllm" and not total:
        told.append("memory of the GPU is not known here: --gpu-memory-utilization is added where it is")
    env = {**needs, **launch.env}
    return Explanation(
        runtime=runtime.name,
        argv=tuple(command_line(launch.argv)),
        env=tuple((name, MASK if name in launch.secrets else env[name]) for name in sorted(env)),
        gpus=gpus or (),
        memory=int(runtime.memory or 0),
        memory_from="unknown" if runtime.memory is None else "declared",
        log=str(log_path(state_dir, replicas[0])),
        replicas=replicas,
        notes=tuple(told),
        origins=tuple((" ".join(command_line(part.words)), part.origin) for part in launch.parts),
        address=_shown(address),
        fingerprint=fingerprint(runtime),
    )


def _address(runtime: Runtime, state_dir: Path, replica: str) -> Address:
    if command.wants_socket(runtime):
        return Address("unix", str(state_dir / "run" / f"{quote(replica, safe='')}.sock"))
    return Address("http", "127.0.0.1", 0)


def _shown(address: Address) -> str:
    if address.scheme == "unix":
        return f"unix:{address.host}"
    return f"{address.host}:{address.port}" if address.port else f"{address.host}, a free port at every start"


def _overrides(launch: Launch) -> list[str]:
    """What `args` say once more, and so otherwise, than a setting."""
    own = {word: part.origin for part in launch.parts[:-1] for word in part.words if word.startswith("-")}
    last = launch.parts[-1]
    if last.origin != "args":
        return []
    given = [word.partition("=")[0] for word in last.words]
    return [f"{word} of args wins over the one from: {own[word]}" for word in given if word in own]
