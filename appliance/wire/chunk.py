"""One event of a streamed answer, looked at without being built: does it bring content, an end, or the bill?"""

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation

_NO_CONTENT = (b"", b"null", b'""', b"[]", b"{}")
_FALSY = (*_NO_CONTENT, b"false", b"0")


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """What one chunk says.

    Attributes:
        pieces: choices with text, reasoning or a part of a tool call; about as many tokens.
        open: indexes of the choices that this chunk says something about without ending them.
        ended: indexes of the choices that have their finish reason.
        usage: the engine's count, if this chunk has one.
        usage_only: nothing but the count: the chunk that only clients who asked for it may see.
        error: it is the engine's own error.
        finish: why a choice ended, in the engine's word; "" where none did.
    """

    pieces: int
    open: tuple[int, ...]
    ended: tuple[int, ...]
    usage: Usage | None = None
    usage_only: bool = False
    error: bool = False
    finish: str = ""


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: msgspec.Raw = msgspec.Raw()  # of a completion
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class TokenCount(msgspec.Struct):
    """The `usage` object of a chunk or of a whole reply; engines leave out what they do not count.

    Responses and audio call the two counts input and output; a rerank may have a total alone.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    total_tokens: int | None = None

    def as_usage(self) -> Usage:
        """The same in our own terms."""
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = details.cached_tokens if details is not None else 0
        output = self.completion_tokens or self.output_tokens or 0
        counted = self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens
        if counted is None and self.total_tokens:
            counted = max(self.total_tokens - output, 0)
        thoughts = self.completion_tokens_details or self.output_tokens_details
        reasoning = thoughts.reasoning_tokens if thoughts is not None else 0
        return Usage(counted or 0, output, cached or 0, reasoning=reasoning or 0)


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: TokenCount | None = None
    error: msgspec.Raw = msgspec.Raw()


_CHUNK = msgspec.json.Decoder(_Chunk)


def peek(data: bytes) -> Chunk:
    """Look at the data of one event.

    Raises:
        ProtocolViolation: it is not a JSON object of the shape that the API has.
    """
    try:
        chunk = _CHUNK.decode(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"an event of the stream is not a chunk: {error}") from error
    choices = chunk.choices or ()
    if len(choices) == 1 and chunk.usage is None and not len(chunk.error):
        # Nearly every token of every stream comes this way.
        choice = choices[0]
        if choice.finish_reason:
            return Chunk(_has_content(choice), (), (choice.index,), finish=choice.finish_reason)
        return Chunk(_has_content(choice), (choice.index,), ())
    usage = chunk.usage.as_usage() if chunk.usage else None
    failed = bytes(chunk.error) not in _FALSY
    ended = [choice for choice in choices if choice.finish_reason]
    return Chunk(
        sum(_has_content(choice) for choice in choices),
        tuple([choice.index for choice in choices if not choice.finish_reason]),
        tuple([choice.index for choice in ended]),
        usage,
        usage_only=usage is not None and not choices and not failed,
        error=failed,
        finish=(ended[-1].finish_reason or "") if ended else "",
    )


def _has_content(choice: _Choice) -> int:
    delta = choice.delta
    if delta is not None:
        if _says(delta.content):  # the usual one first
            return 1
        for part in (
            delta.reasoning,
            delta.reasoning_content,
            delta.tool_calls,
            delta.function_call,
            delta.refusal,
            delta.audio,
        ):
            if _says(part):
                return 1
    return int(_says(choice.text))


def _says(value: msgspec.Raw) -> bool:
    # Whatever is longer than `null` says something; asking for the length saves making bytes of it.
    size = len(value)
    return size > 4 or (size > 0 and bytes(value) not in _NO_CONTENT)
