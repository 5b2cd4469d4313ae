"""What an engine is asked beside its health: one token, its own numbers, and how many slots it has."""

import json
from collections.abc import Awaitable, Callable

from appliance.config.schema import Runtime
from appliance.domain.status import Reading
from appliance.supervisor.readings import reading_of

Send = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
"""Method, path and body to status and body, over the engine's own socket. Raises OSError when nothing answers."""
_ABSENT = {404, 405, 501}  # no such route: it proves that somebody answers, and that is all there is to ask


async def canary(send: Send, runtime: Runtime) -> str:
    """Ask for the least that can be asked; "" when it was answered, else why not."""
    # Not chat: a base model has no template for it, and is well all the same.
    path, ask = "/v1/completions", dict[str, object](prompt=".", max_tokens=1)
    if set(runtime.kinds) == {"embedding"}:
        path, ask = "/v1/embeddings", {"input": "."}
    elif set(runtime.kinds) == {"rerank"}:
        path, ask = "/v1/rerank", {"query": ".", "documents": ["."]}
    name = runtime.model if runtime.engine == "command" and runtime.model else runtime.name
    body = json.dumps({"model": name} | ask).encode()
    try:
        status, _ = await send("POST", path, body)
    except OSError as error:
        return str(error)
    return "" if status < 400 or status in _ABSENT else f"POST {path} answered {status}"


async def slots(send: Send, runtime: Runtime) -> int:
    """How many requests it works on at once: llama-server's own word, else as configured; 0 when unknown."""
    if runtime.engine == "llama.cpp":
        try:
            status, body = await send("GET", "/props", b"")
            told = json.loads(body).get("total_slots", 0) if status == 200 else 0
        except (OSError, ValueError, AttributeError):
            told = 0
        if isinstance(told, int) and told > 0:
            return told
    return runtime.slots or 0


async def reading(send: Send) -> Reading | None:
    """Its own numbers; empty when it has none that we know, None when it does not answer."""
    try:
        status, body = await send("GET", "/metrics", b"")
    except OSError:
        return None
    if status == 200:
        return reading_of(body)
    return {} if status in _ABSENT else None
