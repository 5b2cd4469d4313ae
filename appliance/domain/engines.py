"""The table of model servers we know: how to probe each, what it can do, where it differs.

Sources: each project's server code as of November 2026. "command" is any program that speaks the OpenAI API.
"""

from dataclasses import dataclass

from appliance.domain.calls import Operation

_ALL = frozenset(Operation)
_CHAT = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES})
_TEXT = _CHAT | {Operation.EMBEDDING, Operation.COUNT_TOKENS, Operation.RESPONSES}
_TOKENS = {Operation.TOKENIZE, Operation.DETOKENIZE}
_CLOUD_IDLE = 30.0  # their front ends keep connections for a minute or more


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of model server.

    Attributes:
        probe: path under the server's root that answers 2xx when it can serve.
        probe_lists_models: the probe's own reply is the model list (one request does both).
        operations: what this kind of server can offer at all; some of it depends on how it was started.
        loading_status: status of the probe that means "not yet" rather than "broken".
        deterministic_500: a 500 before any output is the request's fault and will come again (llama-server).
        idle_close: seconds after which it closes an idle connection; our pool must be quicker.
        cloud: it is somebody's service on the internet, asked with the caller's own key or the owner's.
    """

    probe: str
    operations: frozenset[Operation] = _ALL
    probe_lists_models: bool = False
    loading_status: int | None = 503
    deterministic_500: bool = False
    idle_close: float = 5.0
    cloud: bool = False


ENGINES: dict[str, Engine] = {
    # Any OpenAI-compatible server: the model list is the only route it is sure to have.
    "openai": Engine("/v1/models", probe_lists_models=True, loading_status=None),
    # Routes are mounted for the tasks of its model, else a plain 404; speech is in its omni edition.
    "vllm": Engine("/health", operations=_ALL - {Operation.MODERATION, Operation.IMAGE, Operation.RESPONSE_TOKENS}),
    # 503 "Loading model" on every route while it loads; without --embeddings or --reranking those routes are a 501.
    "llama.cpp": Engine(
        "/health",
        operations=_TEXT | _TOKENS | {Operation.RESPONSE_TOKENS, Operation.RERANK, Operation.TRANSCRIPTION},
        deterministic_500=True,
    ),
    "sglang": Engine("/health", operations=_TEXT | {Operation.RERANK, Operation.SCORE, Operation.TRANSCRIPTION}),
    # No embeddings route at all; those are a server of their own (text-embeddings-inference).
    "tgi": Engine("/health", operations=_CHAT),
    "ollama": Engine("/api/version", operations=_TEXT, loading_status=None),
    "localai": Engine(
        "/readyz",
        operations=_TEXT
        | {
            Operation.RERANK,
            Operation.TRANSCRIPTION,
            Operation.SPEECH,
            Operation.IMAGE,
            Operation.TOKENIZE,
            Operation.REALTIME,
        },
    ),
    # What `engine = "command"` launches; its health path comes from the config.
    "command": Engine("/health"),
    # The clouds are never probed: a probe would need somebody's key.
    "openai-api": Engine(
        "/v1/models",
        operations=frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING, Operation.MESSAGES}),
        idle_close=_CLOUD_IDLE,
        cloud=True,
    ),
    "anthropic-api": Engine(
        "/v1/models",
        operations=frozenset({Operation.CHAT, Operation.MESSAGES, Operation.COUNT_TOKENS}),
        idle_close=_CLOUD_IDLE,
        cloud=True,
    ),
    "gemini-api": Engine(
        "/v1beta/openai/models",
        operations=frozenset({Operation.CHAT, Operation.EMBEDDING, Operation.MESSAGES}),
        idle_close=_CLOUD_IDLE,
        cloud=True,
    ),
}
BACKEND_ENGINES = tuple(name for name, engine in ENGINES.items() if name != "command" and not engine.cloud)
RUNTIME_ENGINES = ("vllm", "llama.cpp", "command")
