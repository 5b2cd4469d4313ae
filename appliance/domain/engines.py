"""The table of model servers we know: how to probe each, what it can do, where it differs.

Sources: each project's server code as of November 2026. "command" is any program that speaks the OpenAI API.
"""

from dataclasses import dataclass

from appliance.domain.calls import Operation

_ALL = frozenset(Operation)


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of model server.

    Attributes:
        probe: path under the server's root that answers 2xx when it can serve.
        probe_lists_models: the probe's own reply is the model list (one request does both).
        operations: what this kind of server can offer at all.
        absent_route: statuses with which it says that a route of `operations` does not exist in this instance.
        loading_status: status of the probe that means "not yet" rather than "broken".
        deterministic_500: a 500 before any output is the request's fault and will come again (llama-server).
        idle_close: seconds after which it closes an idle connection; our pool must be quicker.
    """

    probe: str
    operations: frozenset[Operation] = _ALL
    probe_lists_models: bool = False
    absent_route: frozenset[int] = frozenset()
    loading_status: int | None = 503
    deterministic_500: bool = False
    idle_close: float = 5.0


ENGINES: dict[str, Engine] = {
    # Any OpenAI-compatible server: the model list is the only route it is sure to have.
    "openai": Engine("/v1/models", probe_lists_models=True, loading_status=None),
    # The embeddings route exists only for pooling models, else a plain 404 (routes are mounted per task).
    "vllm": Engine("/health", absent_route=frozenset({404})),
    # 503 "Loading model" on every route while it loads; without --embeddings that route is a 501.
    "llama.cpp": Engine("/health", absent_route=frozenset({501}), deterministic_500=True),
    "sglang": Engine("/health"),
    # No embeddings route at all; those are a server of their own (text-embeddings-inference).
    "tgi": Engine("/health", operations=frozenset({Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES})),
    "ollama": Engine("/api/version", loading_status=None),
    "localai": Engine("/readyz"),
    # What `engine = "command"` launches; its health path comes from the config.
    "command": Engine("/health", absent_route=frozenset({501})),
}
BACKEND_ENGINES = tuple(name for name in ENGINES if name != "command")
RUNTIME_ENGINES = ("vllm", "llama.cpp", "command")
