"""What a client asked for: one operation on one model."""

from dataclasses import dataclass, field
from enum import StrEnum


class Operation(StrEnum):
    """What can be asked of a model. The value is the label in metrics and logs."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embeddings"

    @property
    def path(self) -> str:
        """The OpenAI path under the server's root, for us and for every engine."""
        return _PATHS[self]


_PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDING: "/v1/embeddings",
}

# kind of a model in the config -> what it can be asked to do
KINDS: dict[str, frozenset[Operation]] = {
    "chat": frozenset({Operation.CHAT, Operation.COMPLETION}),
    "completion": frozenset({Operation.COMPLETION}),
    "embedding": frozenset({Operation.EMBEDDING}),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One client request after parsing, before routing.

    Attributes:
        operation: what is asked.
        model: the public name the client gave.
        body: the client's JSON object, byte for byte.
        stream: the client wants server-sent events.
        wants_usage: the client asked for the usage chunk itself (`stream_options.include_usage`).
        request_id: the client's own correlation id from the body, if it sent a valid one.
        appendable: the body is known to have neither `request_id` nor `stream_options`, so that nothing has to be taken
            out, and what has to be added can follow its last member.
    """

    operation: Operation
    model: str
    body: bytes
    stream: bool = False
    wants_usage: bool = False
    request_id: str | None = None
    appendable: bool = field(default=False, compare=False)


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
