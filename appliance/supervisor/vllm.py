"""How vLLM is started."""

from pathlib import Path

from appliance.config.schema import Runtime
from appliance.domain.targets import Address
from appliance.supervisor.launch import Part, flag

DEVELOPER_MODE = "VLLM_SERVER_DEV_MODE"  # opens /sleep, and with it routes that ask for no key
_NOWHERE = "media.invalid"  # an empty list of domains would allow all of them; no host can have this name
_MOST = 0.98  # of a GPU: the driver keeps some of it


def parts(
    runtime: Runtime,
    binary: str,
    address: Address,
    gpus: tuple[int, ...] | None,
    *,
    total: int | None,
) -> tuple[Part, ...]:
    """Its command line, less `args`.

    Args:
        runtime: from the config.
        binary: the `vllm` program.
        address: where it shall listen.
        gpus: its GPUs, over which the model is split.
        total: memory of the smallest of them, bytes; None when unknown.
    """
    found = [flag("binary", binary, "serve"), flag("model", runtime.model)]
    found.append(flag("name", "--served-model-name", runtime.name))
    if address.scheme == "unix":
        found.append(flag("its address", "--uds", address.host))
    else:
        found.append(flag("its address", "--host", address.host, "--port", address.port))
    if runtime.context is not None:
        found.append(flag("context", "--max-model-len", runtime.context))
    if runtime.slots is not None:
        found.append(flag("slots", "--max-num-seqs", runtime.slots))
    if gpus is not None and len(gpus) > 1:
        found.append(flag("gpus: the model is split over them", "--tensor-parallel-size", len(gpus)))
    if runtime.memory is not None and total:
        # vLLM takes this part of each GPU whatever the model needs; without it, nine tenths.
        share = min(_MOST, max(0.01, runtime.memory / total))
        found.append(flag("memory / memory of the GPU", "--gpu-memory-utilization", f"{share:.3f}"))
    if set(runtime.kinds) == {"embedding"}:
        found.append(flag("kinds", "--runner", "pooling", "--convert", "embed"))
    if set(runtime.kinds) == {"rerank"}:
        found.append(flag("kinds", "--runner", "pooling"))  # what it is converted to is the model's own affair
    # No --shutdown-timeout: who is told to stop has been drained by then, and with it even an idle end takes seconds.
    found.append(flag("requests name no URL that it fetches", "--allowed-media-domains", _NOWHERE))
    found.append(flag("a probe is not worth a line", "--disable-uvicorn-access-log"))
    return tuple(found)


def environment(runtime: Runtime, state_dir: Path, *, sleep: bool) -> dict[str, str]:
    """Its variables, less its key and its GPUs.

    Args:
        runtime: from the config.
        state_dir: compiled code is kept below it: the next start then takes a minute less.
        sleep: open the routes by which it is put to sleep.
    """
    cache = state_dir.absolute() / "cache"
    # 0 is "no limit" for us, and "give up at once" for vLLM.
    limit = int(runtime.load_limit) or 7 * 24 * 3600
    return {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "FLASHINFER_WORKSPACE_BASE": str(cache / "flashinfer"),
        "VLLM_ENGINE_READY_TIMEOUT_S": str(limit),
        "VLLM_HOST_IP": "127.0.0.1",  # its processes speak pickle to each other
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        DEVELOPER_MODE: "1" if sleep else "0",
    }
