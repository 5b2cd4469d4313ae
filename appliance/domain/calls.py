"""What a client asked for: one operation on one model."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Dialect(StrEnum):
    """Whose API a client speaks."""

    OPENAI = "openai"
    MESSAGES = "messages"


class Operation(StrEnum):
    """What can be asked of a model. The value is the label in metrics and logs."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embeddings"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"

    @property
    def path(self) -> str:
        """The path under the server's root at which clients ask."""
        return _PATHS[self]

    @property
    def engine_path(self) -> str:
        """The path at which engines are asked."""
        return _PATHS[Operation.CHAT if self is Operation.MESSAGES else self]

    @property
    def dialect(self) -> Dialect:
        """What its clients speak."""
        return Dialect.MESSAGES if self in _OF_MESSAGES else Dialect.OPENAI


_OF_MESSAGES = {Operation.MESSAGES, Operation.COUNT_TOKENS}
_PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDING: "/v1/embeddings",
    Operation.MESSAGES: "/v1/messages",
    Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
}

# kind of a model in the config -> what it can be asked to do
KINDS: dict[str, frozenset[Operation]] = {
    "chat": frozenset({Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES, Operation.COUNT_TOKENS}),
    "completion": frozenset({Operation.COMPLETION}),
    "embedding": frozenset({Operation.EMBEDDING}),
}


class Foreign(Protocol):
    """A request in another dialect, read and found good, that can be put to an engine as a chat request."""

    def chat_body(self, engine: str, model: str) -> bytes:
        """The body of the chat request.

        Args:
            engine: a key of `domain.engines.ENGINES`; they differ in what they understand.
            model: the name that the engine knows the model by.
        """
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One client request after parsing, before routing.

    Attributes:
        operation: what is asked.
        model: the public name the client gave; empty for the default one (Messages only).
        body: the client's JSON object, byte for byte.
        stream: the client wants server-sent events.
        wants_usage: the client asked for the usage chunk itself (`stream_options.include_usage`).
        request_id: the client's own correlation id from the body, if it sent a valid one.
        appendable: the body is known to have neither `request_id` nor `stream_options`, so that nothing has to be taken
            out, and what has to be added can follow its last member.
        foreign: the request itself, when it has to be translated.
    """

    operation: Operation
    model: str
    body: bytes
    stream: bool = False
    wants_usage: bool = False
    request_id: str | None = None
    appendable: bool = field(default=False, compare=False)
    foreign: Foreign | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one exchange.

    Attributes:
        input: prompt tokens.
        output: generated tokens.
        cached: prompt tokens that the engine took from its cache (part of `input`).
        estimated: counted by us because the engine never reported; never mixed with exact figures unseen.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
