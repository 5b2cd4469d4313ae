"""Every route in words. A test holds this table and the table of routes together."""

from dataclasses import dataclass
from types import MappingProxyType

from appliance.domain.calls import Operation


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one route.

    Attributes:
        summary: what it does.
        scope: what the key needs; empty where none is asked for.
        page: the document with more.
        query: members of the query, with what they mean.
        refusals: statuses of errors, beside those of every route with its scope.
    """

    summary: str
    scope: str = ""
    page: str = ""
    query: tuple[tuple[str, str], ...] = ()
    refusals: tuple[int, ...] = ()


OPERATIONS = MappingProxyType(
    {
        Operation.CHAT: "A chat completion, whole or streamed",
        Operation.COMPLETION: "A completion of a prompt, whole or streamed",
        Operation.EMBEDDING: "Embeddings of texts",
        Operation.MESSAGES: "A Message of Anthropic's API, whole or streamed",
        Operation.COUNT_TOKENS: "How many tokens a request for a Message has",
        Operation.RESPONSES: "A response of OpenAI's Responses API, whole or streamed",
        Operation.RESPONSE_TOKENS: "How many tokens a request for a response has",
        Operation.RERANK: "Documents in the order of their relevance to a query",
        Operation.SCORE: "How similar texts are",
        Operation.TRANSCRIPTION: "What is said in a recording",
        Operation.TRANSLATION: "What is said in a recording, in English",
        Operation.SPEECH: "A text, spoken",
        Operation.MODERATION: "Whether a text is harmful",
        Operation.IMAGE: "An image from a prompt",
        Operation.TOKENIZE: "The tokens of a text",
        Operation.DETOKENIZE: "The text of tokens",
        Operation.REALTIME: "A session over a WebSocket",
    }
)
_LOGS = (("last", "how many lines"), ("follow", "1: go on as server-sent events"))
_EDIT = (("dry_run", "1: say what would change"),)
_EVENTS = (
    ("since", "only after this id"),
    ("kind", "only these kinds"),
    ("subject", "only about this"),
    ("limit", "how many"),
    ("follow", "1: go on as server-sent events"),
)
_USAGE = tuple((name, "only this") for name in ("since", "until", "key", "model", "target"))
OTHERS = MappingProxyType(
    {
        ("GET", "/v1/models"): Words("The models that the key may use", "infer", "routes"),
        ("GET", "/v1/models/{id}"): Words("One model", "infer", "routes", refusals=(404,)),
        ("GET", "/healthz"): Words("Whether the process is alive", page="service"),
        ("GET", "/readyz"): Words("Whether each model is ready; 503 while one is not", page="service"),
        ("GET", "/metrics"): Words(
            "Metrics for Prometheus; without a key from the machine itself", "metrics", "metrics"
        ),
        ("GET", "/ca.pem"): Words(
            "The certificate of this server's own authority, for clients to trust", page="connections", refusals=(404,)
        ),
        ("GET", "/openapi.json"): Words("This description"),
        ("GET", "/docs"): Words("The documents"),
        ("GET", "/docs/{id}"): Words("One document", refusals=(404,)),
        ("GET", "/ops/v1/state"): Words("What every replica, backend and GPU does", "admin", "commands"),
        ("GET", "/ops/v1/live"): Words("The same every second, as events", "admin", "events"),
        ("GET", "/ops/v1/events"): Words("What has happened", "admin", "events", _EVENTS, (422,)),
        ("GET", "/ops/v1/logs/{id}"): Words("The last lines of a model's output", "admin", "commands", _LOGS, (404,)),
        ("GET", "/ops/v1/explain/{id}"): Words("How a runtime is launched", "admin", "commands", refusals=(404,)),
        ("POST", "/ops/v1/load/{id}"): Words("Start a model, and wait until it is ready", "admin", "commands"),
        ("POST", "/ops/v1/unload/{id}"): Words("Stop a model when its requests have ended", "admin", "commands"),
        ("POST", "/ops/v1/restart/{id}"): Words("Unload a model and load it again", "admin", "commands"),
        ("POST", "/ops/v1/drain/{id}"): Words("Give a model no new work, and stop it when idle", "admin", "commands"),
        ("POST", "/ops/v1/reload"): Words(
            "Put the configuration file into effect", "admin", "commands", (("dry_run", "1: say what would change"),)
        ),
        ("GET", "/ops/v1/config"): Words("The configuration in effect and the file's text", "admin", "commands"),
        ("PUT", "/ops/v1/config"): Words(
            "Replace the configuration file and put it into effect", "admin", "commands", refusals=(409, 412, 422)
        ),
        ("POST", "/ops/v1/config/check"): Words(
            "What is wrong with a text for the configuration file, and what it would change", "admin", "commands"
        ),
        ("GET", "/ops/v1/models"): Words("All public models and their settings", "admin", "commands"),
        ("POST", "/ops/v1/models/{id}"): Words(
            "Add a model to the configuration file", "admin", "commands", _EDIT, (409, 412, 422)
        ),
        ("PATCH", "/ops/v1/models/{id}"): Words(
            "Change settings of a model in the configuration file", "admin", "commands", _EDIT, (404, 409, 412, 422)
        ),
        ("DELETE", "/ops/v1/models/{id}"): Words(
            "Remove a model from the configuration file", "admin", "commands", _EDIT, (404, 409, 412)
        ),
        ("GET", "/ops/v1/keys"): Words("All keys, without their texts", "admin", "commands"),
        ("POST", "/ops/v1/keys"): Words("Make a key; its text is in the answer, and nowhere else", "admin", "commands"),
        ("POST", "/ops/v1/keys/rotate/{id}"): Words("Give a key a new text", "admin", "commands", refusals=(404,)),
        ("POST", "/ops/v1/keys/revoke/{id}"): Words("End a key at once", "admin", "commands", refusals=(404,)),
        ("POST", "/ops/v1/cancel/{id}"): Words("End a request under way", "admin", "console", refusals=(404,)),
        ("POST", "/ops/v1/console/link"): Words("A link that logs into the console once", "admin", "console"),
        ("GET", "/ops/v1/usage"): Words("Who used what", "admin", "commands", _USAGE),
    }
)
