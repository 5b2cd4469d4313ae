"""An engine's error in the envelope of Messages."""

import msgspec

from appliance.domain.calls import Dialect
from appliance.errors import GatewayError
from appliance.wire.error_body import error_body

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_LONGEST = 500  # characters of an error that is no JSON
_ANY = msgspec.json.Decoder()


def type_of(status: int) -> str:
    """`error.type` for an HTTP status; clients branch on it, so it is one of a closed set."""
    return _TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def engine_error(status: int, body: bytes, request_id: str) -> bytes:
    """The body of an error that the engine answered with; its status stays as it is."""
    message, code = said(body)
    if code is None:
        code = status
    text = message or f"The model server answered with status {status} and no explanation."
    return _envelope(type_of(status), text, code, request_id)


def engine_error_event(data: bytes, request_id: str) -> bytes:
    """An error that the engine reported in its stream, as the event that ends ours."""
    message, code = said(data)
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    text = message or "The model server reported an error in its stream."
    return as_event(_envelope(type_of(status), text, code, request_id))


def error_event(error: GatewayError, request_id: str) -> bytes:
    """An error of ours, for a stream that already began."""
    return as_event(error_body(error, request_id, Dialect.MESSAGES))


def as_event(body: bytes) -> bytes:
    """The `error` event; the official SDKs see no error in an event without that name."""
    return b"event: error\ndata: " + body + b"\n\n"


def _envelope(kind: str, message: str, code: object, request_id: str) -> bytes:
    error = {"type": kind, "message": message} | ({} if code is None else {"code": code})
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def said(body: bytes) -> tuple[str, int | str | None]:
    """The message and the code of an error in any of the shapes that engines use."""
    try:
        value = _ANY.decode(body)
    except (ValueError, RecursionError):
        return body[: _LONGEST * 4].decode("utf-8", "replace")[:_LONGEST].strip(), None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return "", None
    error = value.get("error")
    if isinstance(error, str):
        return error, None
    if not isinstance(error, dict):
        error = value
    message = next((error[name] for name in ("message", "detail") if isinstance(error.get(name), str)), "")
    code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), int | str)), None)
    return message, code
