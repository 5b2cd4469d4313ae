"""What a client asked for: one operation on one model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

from appliance.errors import GatewayError


class Dialect(StrEnum):
    """Whose API a client speaks."""

    OPENAI = "openai"
    MESSAGES = "messages"


class Grammar(StrEnum):
    """How a streamed answer is written, which is how we know that it is whole and what it cost."""

    CHUNKS = "chunks"  # data lines with choices, then [DONE]
    RESPONSES = "responses"  # named events, then one of response.completed, .incomplete or .failed
    OPAQUE = "opaque"  # audio, or events of several kinds: whole when the engine ends it in good order


@dataclass(frozen=True, slots=True)
class Wire:
    """How an operation is asked for.

    Attributes:
        path: under the server's root, where clients ask; below `/v1`, which has a second name.
        engine_path: where engines are asked; the same when empty.
        aliases: other paths of other servers' clients, as they stand.
        dialect: what its clients speak.
        grammar: of its streams.
        form: the body is a multipart form, not JSON.
        socket: it is a websocket.
    """

    path: str
    engine_path: str = ""
    aliases: tuple[str, ...] = ()
    dialect: Dialect = Dialect.OPENAI
    grammar: Grammar = Grammar.OPAQUE
    form: bool = False
    socket: bool = False


class Operation(StrEnum):
    """What can be asked of a model. The value is the label in metrics and logs; the rest is its row of `Wire`.

    This is the whole list of what is ever passed on to an engine: a route that is not here stays closed, whatever the
    engine has behind it.
    """

    path: str
    engine_path: str
    aliases: tuple[str, ...]
    dialect: Dialect
    grammar: Grammar
    form: bool
    socket: bool

    CHAT = "chat", Wire("/v1/chat/completions", grammar=Grammar.CHUNKS)
    COMPLETION = "completion", Wire("/v1/completions", grammar=Grammar.CHUNKS)
    EMBEDDING = "embeddings", Wire("/v1/embeddings")
    MESSAGES = (
        "messages",
        Wire("/v1/messages", "/v1/chat/completions", dialect=Dialect.MESSAGES, grammar=Grammar.CHUNKS),
    )
    COUNT_TOKENS = "count_tokens", Wire("/v1/messages/count_tokens", dialect=Dialect.MESSAGES)
    RESPONSES = "responses", Wire("/v1/responses", grammar=Grammar.RESPONSES)
    RESPONSE_TOKENS = "response_tokens", Wire("/v1/responses/input_tokens")
    # Cohere's clients ask below /v2, Jina's below /v1, others at the root; engines answer alike on all of them.
    RERANK = "rerank", Wire("/v1/rerank", aliases=("/rerank", "/v2/rerank", "/v1/reranking"))
    SCORE = "score", Wire("/v1/score", aliases=("/score",))
    TRANSCRIPTION = "transcription", Wire("/v1/audio/transcriptions", form=True)
    TRANSLATION = "translation", Wire("/v1/audio/translations", form=True)
    SPEECH = "speech", Wire("/v1/audio/speech")
    MODERATION = "moderation", Wire("/v1/moderations")
    IMAGE = "image", Wire("/v1/images/generations")
    TOKENIZE = "tokenize", Wire("/v1/tokenize", "/tokenize", aliases=("/tokenize",))
    REALTIME = "realtime", Wire("/v1/realtime", socket=True)
    DETOKENIZE = "detokenize", Wire("/v1/detokenize", "/detokenize", aliases=("/detokenize",))

    def __new__(cls, value: str, wire: Wire) -> Self:
        """A member with its row's columns as attributes: they are looked up for every request."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.path = wire.path
        member.engine_path = wire.engine_path or wire.path
        member.aliases = wire.aliases
        member.dialect = wire.dialect
        member.grammar = wire.grammar
        member.form = wire.form
        member.socket = wire.socket
        return member


_TOKENS = {Operation.TOKENIZE, Operation.DETOKENIZE}
_HEARING = {Operation.TRANSCRIPTION, Operation.TRANSLATION, Operation.REALTIME}

# kind of a model in the config -> what it can be asked to do
KINDS: dict[str, frozenset[Operation]] = {
    "chat": frozenset(
        {
            Operation.CHAT,
            Operation.COMPLETION,
            Operation.MESSAGES,
            Operation.COUNT_TOKENS,
            Operation.RESPONSES,
            Operation.RESPONSE_TOKENS,
            *_TOKENS,
        }
    ),
    "completion": frozenset({Operation.COMPLETION, *_TOKENS}),
    "embedding": frozenset({Operation.EMBEDDING, *_TOKENS}),
    "rerank": frozenset({Operation.RERANK, Operation.SCORE, *_TOKENS}),
    "transcription": frozenset(_HEARING),
    "speech": frozenset({Operation.SPEECH}),
    "audio": frozenset({Operation.SPEECH, *_HEARING}),
    "realtime": frozenset({Operation.REALTIME}),
    "moderation": frozenset({Operation.MODERATION}),
    "image": frozenset({Operation.IMAGE}),
}

# Members of a request that decide which answer is given, rather than how: none may be there twice, or be changed.
DECIDING = frozenset(
    {"model", "messages", "prompt", "input", "query", "documents", "stream", "stream_options", "request_id"}
)


class Foreign(Protocol):
    """A request in another dialect, read, that can be put to an engine as a chat request.

    Attributes:
        assumed: fields of the chat request that the client did not ask for.
        problem: why it cannot, but only to a provider that speaks that dialect itself; None when it can.
    """

    assumed: frozenset[str]

    @property
    def problem(self) -> GatewayError | None:
        """As above."""
        ...

    def chat_body(self, engine: str, model: str) -> bytes:
        """The body of the chat request.

        Args:
            engine: a key of `domain.engines.ENGINES`; they differ in what they understand.
            model: the name that the engine knows the model by.
        """
        ...

    def as_amended(self, body: bytes) -> bytes:
        """A request in the client's own dialect as the model's owner wants it, for who speaks that dialect itself."""
        ...


@dataclass(slots=True)  # not frozen: that would triple the cost of making one
class Call:
    """One client request after parsing, before routing. Nobody changes one.

    Attributes:
        operation: what is asked.
        model: the public name the client gave; empty for the default one (Messages only).
        body: the client's JSON object or form, byte for byte.
        stream: the client wants server-sent events.
        wants_usage: the client asked for the usage chunk itself (`stream_options.include_usage`).
        request_id: the client's own correlation id from the body, if it sent a valid one.
        most_output: tokens that all its answers together may have; None when it does not say.
        appendable: the body is known to have neither `request_id` nor `stream_options`, so that nothing has to be taken
            out, and what has to be added can follow its last member.
        foreign: the request itself, when it has to be translated.
        content_type: of a form, with its boundary; empty for JSON.
        plain: its messages are known to hold text and nothing else.
        watched: members that could harm an engine, by name, and media that lies elsewhere, by place; all undecoded.
    """

    operation: Operation
    model: str
    body: bytes
    stream: bool = False
    wants_usage: bool = False
    request_id: str | None = None
    most_output: int | None = None
    appendable: bool = field(default=False, compare=False)
    foreign: Foreign | None = field(default=None, compare=False)
    content_type: str = ""
    watched: Mapping[str, bytes] | None = field(default=None, compare=False)
    plain: bool = field(default=False, compare=False)


class Usage(NamedTuple):
    """Token counts of one exchange.

    Attributes:
        input: prompt tokens.
        output: generated tokens.
        cached: prompt tokens that the engine took from its cache (part of `input`).
        estimated: counted by us because the engine never reported; never mixed with exact figures unseen.
        reasoning: generated tokens that are thoughts (part of `output`), where the engine tells them apart.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    reasoning: int = 0
