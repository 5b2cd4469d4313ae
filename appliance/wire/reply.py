"""A whole JSON answer: what it cost, and our id in it. The rest stays as the engine wrote it."""

import msgspec

from appliance.domain.calls import Usage
from appliance.wire.chunk import TokenCount


class _Bill(msgspec.Struct):
    usage: TokenCount | None = None


_BILL = msgspec.json.Decoder(_Bill)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def usage_of(body: bytes) -> Usage | None:
    """The token counts of a reply; None when it has none or is not a reply that we can read."""
    try:
        bill = _BILL.decode(body)
    except (ValueError, RecursionError):
        return None
    return bill.usage.as_usage() if bill.usage else None


def is_object(body: bytes) -> bool:
    """Whether the reply is one whole JSON object."""
    try:
        _MEMBERS.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def with_request_id(body: bytes, request_id: str) -> bytes:
    """The reply with `request_id` as a member; an engine's own is replaced. What is no JSON object stays as it is."""
    try:
        members = _MEMBERS.decode(body)
    except (ValueError, RecursionError):
        return body
    value = msgspec.json.encode(request_id)
    if "request_id" in members:
        return msgspec.json.encode(members | {"request_id": msgspec.Raw(value)})
    head = body[: body.rindex(b"}")].rstrip(b" \t\r\n")  # only white space can follow the last brace
    return b"".join((head, b"," if members else b"", b'"request_id":', value, b"}"))
