"""A runtime of the config as a command line and the environment that goes with it. Pure."""

import re
from pathlib import Path

from appliance.config.schema import Runtime
from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.errors import OperatorError
from appliance.supervisor import llama, vllm
from appliance.supervisor.launch import Launch, Part, flag, visible

# Command lines are readable by every user of the machine, so keys go by environment only. Each engine reads its own.
KEY_VARIABLES = ("APPLIANCE_CHILD_KEY", "LLAMA_API_KEY", "VLLM_API_KEY")
_KEYS_OF = {"llama.cpp": ("LLAMA_API_KEY",), "vllm": ("VLLM_API_KEY",), "command": KEY_VARIABLES}
_PLACEHOLDER = re.compile(r"\{(socket|host|port|model|gpus)\}")


def wants_socket(runtime: Runtime) -> bool:
    """Whether the engine listens on a Unix socket. A command without {socket} gets a loopback port instead."""
    return runtime.engine != "command" or any("{socket}" in word for word in runtime.command)


def build(
    runtime: Runtime,
    binary: str,
    address: Address,
    key: Secret | None,
    *,
    gpus: tuple[int, ...] | None = None,
    state_dir: Path,
    temporary: Path | None = None,
    total: int | None = None,
    sleep: bool = False,
) -> Launch:
    """The launch of one replica.

    Args:
        runtime: from the config.
        binary: the engine's program; unused for `engine = "command"`.
        address: where the child shall listen.
        key: credential that the child shall ask for; new for every start.
        gpus: the GPUs that it may see; empty hides all of them, None leaves it to the engine.
        state_dir: what the engine compiles is kept below it.
        temporary: a directory for temporary files; the system's when None.
        total: memory of the smallest of these GPUs, bytes; None when unknown.
        sleep: vLLM shall be able to give its memory back without ending.

    Raises:
        OperatorError: this engine cannot be launched.
    """
    env = visible(gpus)
    if runtime.engine == "command":
        if not runtime.command:
            raise OperatorError(f'runtime "{runtime.name}" has engine = "command" and no command')
        parts: tuple[Part, ...] = tuple(
            flag("command", _substitute(word, runtime, address, gpus)) for word in runtime.command
        )
    elif runtime.engine == "llama.cpp":
        parts = llama.parts(runtime, binary, address, gpus)
    else:
        parts = vllm.parts(runtime, binary, address, gpus, total=total)
        if sleep:
            parts += (flag("sleep", "--enable-sleep-mode"),)
        env |= vllm.environment(runtime, state_dir, sleep=sleep)
    if runtime.args:
        parts += (flag("args", *runtime.args),)
    if temporary is not None:
        env["TMPDIR"] = str(temporary)
    env |= runtime.env
    names = set(_KEYS_OF[runtime.engine]) if key else set()
    env |= {name: key.reveal for name in names if key}
    return Launch(parts, env, frozenset({*names, *runtime.env}))


def _substitute(word: str, runtime: Runtime, address: Address, gpus: tuple[int, ...] | None) -> str:
    # Not str.format: words may be JSON, and an unknown {name} belongs to the program.
    unix = address.scheme == "unix"
    values = {
        "socket": address.host if unix else "",
        "host": "127.0.0.1" if unix else address.host,
        "port": "" if unix else str(address.port),
        "model": runtime.model,
        "gpus": ",".join(str(index) for index in gpus or ()),
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], word)
