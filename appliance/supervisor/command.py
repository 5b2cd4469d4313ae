"""A runtime of the config as a command line and the environment that goes with it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.config.schema import Runtime
from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.errors import OperatorError

# Command lines are readable by every user of the machine, so keys go by environment only. Each engine reads its own.
KEY_VARIABLES = ("APPLIANCE_CHILD_KEY", "LLAMA_API_KEY", "VLLM_API_KEY")
_PLACEHOLDER = re.compile(r"\{(socket|host|port|model|gpus)\}")


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start.

    Attributes:
        argv: the command line.
        env: variables for the child beside those it inherits; may hold its key.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Launch({self.argv[0]!r}, …)"


def wants_socket(runtime: Runtime) -> bool:
    """Whether the engine listens on a Unix socket. A command without {socket} gets a loopback port instead."""
    return runtime.engine == "llama.cpp" or any("{socket}" in word for word in runtime.command)


def build(runtime: Runtime, binary: str, address: Address, key: Secret | None) -> Launch:
    """The launch of one replica.

    Args:
        runtime: from the config.
        binary: the engine's program; unused for `engine = "command"`.
        address: where the child shall listen.
        key: credential that the child shall ask for; new for every start.

    Raises:
        OperatorError: this engine cannot be launched.
    """
    names: tuple[str, ...] = KEY_VARIABLES
    if runtime.engine == "command":
        if not runtime.command:
            raise OperatorError(f'runtime "{runtime.name}" has engine = "command" and no command')
        argv = tuple(_substitute(word, runtime, address) for word in runtime.command) + runtime.args
    elif runtime.engine == "llama.cpp":
        argv = _llama(runtime, binary, address)
        names = ("LLAMA_API_KEY",)
    else:
        raise OperatorError(f'engine "{runtime.engine}" of runtime "{runtime.name}" cannot be launched yet')
    return Launch(argv, dict.fromkeys(names, key.reveal) if key else {})


def _substitute(word: str, runtime: Runtime, address: Address) -> str:
    # Not str.format: words may be JSON, and an unknown {name} belongs to the program.
    unix = address.scheme == "unix"
    values = {
        "socket": address.host if unix else "",
        "host": "127.0.0.1" if unix else address.host,
        "port": "" if unix else str(address.port),
        "model": runtime.model,
        "gpus": ",".join(str(index) for index in runtime.gpus or ()),
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], word)


def _llama(runtime: Runtime, binary: str, address: Address) -> tuple[str, ...]:
    argv = [binary, "-m", runtime.model, "--alias", runtime.name, "--host", address.host]
    if address.scheme != "unix":  # a host that ends in .sock needs no port
        argv += ["--port", str(address.port)]
    if runtime.context is not None:
        argv += ["-c", str(runtime.context)]
    if runtime.slots is not None:
        argv += ["--parallel", str(runtime.slots)]
    if set(runtime.kinds) == {"embedding"}:
        argv.append("--embeddings")
    return (*argv, "--metrics", "--no-webui", *runtime.args)
