"""A whole JSON answer: what it cost, why it ended, and our id in it. The rest stays as the engine wrote it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from appliance.domain.calls import Usage
from appliance.wire.chunk import TokenCount
from appliance.wire.run_together import Answer

_WHITE = b" \t\r\n"


class _Odd(msgspec.Struct, gc=False):
    """The members that we look at, undecoded; empty when absent."""

    usage: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()


class _Ended(Protocol):
    @property
    def finish_reason(self) -> str | None: ...


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Reply(_Odd, gc=False):
    """The same of an answer whose choices, if it has some, are as they should be."""

    choices: list[_Choice] | None = None


class _Counted(msgspec.Struct, gc=False):
    """The same of an answer whose usage is, too: of nearly all."""

    usage: TokenCount | None = None
    request_id: msgspec.Raw = msgspec.Raw()
    choices: list[_Choice] | None = None


_COUNTED = msgspec.json.Decoder(_Counted)
_REPLY = msgspec.json.Decoder(_Reply)
_ODD = msgspec.json.Decoder(_Odd)
_USAGE = msgspec.json.Decoder(TokenCount | None)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def examine(body: bytes, request_id: str, answer: Answer | None = None) -> tuple[bytes, Usage | None, str] | None:
    """The reply with `request_id` as a member, and what it says; one look at the body serves all.

    Args:
        body: as it came.
        request_id: ours; one of the engine's own is replaced, and an array has no place for it.
        answer: the body, where it has been read already.

    Returns:
        The body; its token counts, None when there are none that we can read; why its last choice ended, in the word of
        the engine, "" where it does not say. None when the body is not one whole JSON object or array.
    """
    try:
        seen, choices = _look(body) if answer is None else (answer, answer.choices)
        value = msgspec.json.encode(request_id)
        if len(seen.request_id):
            members = _MEMBERS.decode(body)
            body = msgspec.json.encode(members | {"request_id": msgspec.Raw(value)})
            return body, _usage(seen.usage), _finish(choices)
    except (ValueError, RecursionError):
        return (body, None, "") if _is_array(body) else None
    end = body.rindex(b"}")  # only white space can follow the last brace
    if body[end - 1] in _WHITE:
        end = len(body[:end].rstrip(_WHITE))
    comma = b"" if body[end - 1] == ord("{") else b","
    body = b"".join((memoryview(body)[:end], comma, b'"request_id":', value, b"}"))
    return body, _usage(seen.usage), _finish(choices)


def _look(body: bytes) -> tuple[_Odd | _Counted, Sequence[_Ended]]:
    for decoder in (_COUNTED, _REPLY):
        try:
            reply = decoder.decode(body)
        except msgspec.ValidationError:
            continue
        return reply, reply.choices or ()
    return _ODD.decode(body), ()


def usage_in(body: bytes) -> Usage | None:
    """The token counts of a JSON object that may have them."""
    try:
        return _usage(_ODD.decode(body).usage)
    except (ValueError, RecursionError):
        return None


def _finish(choices: Sequence[_Ended]) -> str:
    return (choices[-1].finish_reason or "") if choices else ""


def _is_array(body: bytes) -> bool:
    """Some engines answer a rerank with a bare array."""
    try:
        _ARRAY.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _usage(count: msgspec.Raw | TokenCount | None) -> Usage | None:
    if isinstance(count, msgspec.Raw):
        try:
            count = _USAGE.decode(count) if len(count) else None
        except (ValueError, RecursionError):
            return None
    return None if count is None else count.as_usage()
