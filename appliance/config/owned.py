"""What of an engine's command line and environment is the appliance's own, and so no setting's to change."""

import re

_FLAGS = {
    "llama.cpp": """
        --host --port --reuse-port --api-key --api-key-file --api-prefix --alias -a --model -m --models-dir
        --models-preset --ssl-key-file --ssl-cert-file --log-disable --log-file
    """,
    "vllm": """
        --host --port --uds --api-key --served-model-name --model --root-path --ssl-keyfile --ssl-certfile
        --ssl-ca-certs --headless --config
    """,
}
_VARIABLE = re.compile(
    r"APPLIANCE_\w+|LLAMA_API_KEY|VLLM_API_KEY|VLLM_SERVER_DEV_MODE|VLLM_HOST_IP"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HIP_VISIBLE_DEVICES"
)


def own_flag(engine: str, argument: str) -> str:
    """The flag in an argument that would move the engine's door from where we look, or open it to others; else ""."""
    flag = argument.partition("=")[0]
    # vLLM takes underscores as well.
    return flag if flag.replace("_", "-") in _FLAGS.get(engine, "").split() else ""


def own_variable(name: str) -> bool:
    """Whether the appliance itself sets this variable for a child."""
    return _VARIABLE.fullmatch(name) is not None
