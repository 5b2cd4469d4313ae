"""A whole JSON answer: what it cost, and our id in it. The rest stays as the engine wrote it."""

import msgspec

from appliance.domain.calls import Usage
from appliance.wire.chunk import TokenCount

_WHITE = b" \t\r\n"


class _Reply(msgspec.Struct, gc=False):
    """The members that we look at, undecoded; empty when absent."""

    usage: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()


_REPLY = msgspec.json.Decoder(_Reply)
_USAGE = msgspec.json.Decoder(TokenCount | None)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def examine(body: bytes, request_id: str) -> tuple[bytes, Usage | None] | None:
    """The reply with `request_id` as a member, and its token counts; one look at the body serves both.

    Returns:
        None when the body is not one whole JSON object or array. The counts are None when there are none that we can
        read; an id of the engine's own is replaced. An array has no place for ours.
    """
    try:
        seen = _REPLY.decode(body)
        value = msgspec.json.encode(request_id)
        if len(seen.request_id):
            members = _MEMBERS.decode(body)
            return msgspec.json.encode(members | {"request_id": msgspec.Raw(value)}), _usage(seen.usage)
    except (ValueError, RecursionError):
        return (body, None) if _is_array(body) else None
    end = body.rindex(b"}")  # only white space can follow the last brace
    if body[end - 1] in _WHITE:
        end = len(body[:end].rstrip(_WHITE))
    comma = b"" if body[end - 1] == ord("{") else b","
    return b"".join((memoryview(body)[:end], comma, b'"request_id":', value, b"}")), _usage(seen.usage)


def usage_in(body: bytes) -> Usage | None:
    """The token counts of a JSON object that may have them."""
    try:
        return _usage(_REPLY.decode(body).usage)
    except (ValueError, RecursionError):
        return None


def _is_array(body: bytes) -> bool:
    """Some engines answer a rerank with a bare array."""
    try:
        _ARRAY.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _usage(raw: msgspec.Raw) -> Usage | None:
    if not len(raw):
        return None
    try:
        count = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return None
    return count.as_usage() if count else None
