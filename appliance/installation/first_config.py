"""A first configuration, from what was found on the machine. Pure."""

import json

from appliance.installation.found import Found, ModelFound

_HEAD = """\
# The appliance's configuration, begun by `appliance install`. Check a change with `appliance check`, then put it into
# effect with `appliance reload`. Every setting is described at /docs of the running server.

[server]
listen = "0.0.0.0:8000"
state_dir = "/var/lib/appliance"
# names = ["gpubox.lan"]           # host names under which people reach this machine
# tls = "internal"                 # https with an authority of its own; then: appliance cert trust

[[keys]]                           # the key itself was shown once, by `appliance install`
name = "admin"
hash = "{hash}"
scopes = ["admin", "metrics", "infer"]
"""
_NOTHING = """
# No model was found. Put one into /models and write it down here:
#
# [[runtimes]]
# name = "my-model"
# engine = "llama.cpp"             # a .gguf file and llama-server; or "vllm" and a directory
# model = "/models/my-model.gguf"
"""


def first_config(found: Found, key_hash: str) -> str:
    """The text of the file.

    Args:
        found: on this machine.
        key_hash: of the first admin key, "sha256:" and hex digits.
    """
    text = _HEAD.format(hash=key_hash)
    usable = [model for model in found.models if _program(found, model)]
    names: set[str] = set()
    for number, model in enumerate(usable):
        name = model.name
        while name in names:
            name += "-2"
        names.add(name)
        text += _runtime(found, model, name, first=number == 0)
    left = [model for model in found.models if model not in usable]
    for model in left:
        program = "llama-server" if model.engine == "llama.cpp" else "vllm"
        text += (
            f"\n# {model.path} was found, and no {program} to run it. Put one on the path, take the # away, then\n"
            "# `appliance reload`:\n#\n"
        )
        text += "".join(f"# {line}\n" for line in _table(model, model.name))
    return text if found.models else text + _NOTHING


def _program(found: Found, model: ModelFound) -> str:
    return found.llama_server if model.engine == "llama.cpp" else found.vllm


def _runtime(found: Found, model: ModelFound, name: str, *, first: bool) -> str:
    lines = ["", *_table(model, name), f"binary = {json.dumps(_program(found, model))}"]
    if not first:  # one model is there from the start, the others come when they are asked for
        lines += ['start = "on-demand"', 'idle_stop = "15m"']
    return "\n".join(lines) + "\n"


def _table(model: ModelFound, name: str) -> list[str]:
    return [
        "[[runtimes]]",
        f"name = {json.dumps(name)}",
        f"engine = {json.dumps(model.engine)}",
        f"model = {json.dumps(model.path)}",
    ]
