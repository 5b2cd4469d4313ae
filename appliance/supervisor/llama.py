"""How llama-server is started."""

from appliance.config.schema import Runtime
from appliance.domain.targets import Address
from appliance.supervisor.launch import Part, flag

_SPARE_THREADS = 8  # for health and metrics while every slot streams
_THREADS = 32  # llama-server holds a thread for every waiting request too, and we do not know how many there will be
_EVERY_LAYER = 999  # "all" is unknown to older versions


def parts(runtime: Runtime, binary: str, address: Address, gpus: tuple[int, ...] | None) -> tuple[Part, ...]:
    """Its command line, less `args`.

    Args:
        runtime: from the config.
        binary: llama-server.
        address: where it shall listen; a host that ends in .sock is a Unix socket and has no port.
        gpus: the GPUs that it sees; none of them keeps it on the CPU, and None leaves the choice to it.
    """
    found = [flag("binary", binary), flag("model", "-m", runtime.model), flag("name", "--alias", runtime.name)]
    found.append(flag("its address", "--host", address.host))
    if address.scheme != "unix":
        found.append(flag("its address", "--port", address.port))
    if runtime.context is not None:
        # llama-server divides its context among its slots; ours is what one request may have.
        slots = runtime.slots or 1
        origin = "context" if slots == 1 else f"context x slots ({runtime.context} x {slots})"
        found.append(flag(origin, "-c", runtime.context * slots))
    if runtime.slots is not None:
        found.append(flag("slots", "--parallel", runtime.slots))
    threads = _THREADS if runtime.slots is None else runtime.slots + _SPARE_THREADS
    found.append(flag("health answers while every slot is busy", "--threads-http", threads))
    if gpus:
        found.append(flag("gpus: the whole model is on them", "-ngl", _EVERY_LAYER))
    elif gpus is not None:
        found.append(flag("gpus = []: the CPU alone", "--device", "none"))
    if set(runtime.kinds) == {"embedding"}:
        found.append(flag("kinds", "--embeddings"))
    if set(runtime.kinds) == {"rerank"}:
        found.append(flag("kinds", "--reranking"))
    found.append(flag("its counters show progress", "--metrics"))
    found.append(flag("nothing but the API", "--no-webui", "--no-slots"))
    found.append(flag("nothing is downloaded", "--offline"))
    return tuple(found)
