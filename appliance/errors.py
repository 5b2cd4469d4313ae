"""Every error that the product itself can answer with: one tree, one table.

    ApplianceError
    ├── GatewayError      an answer for a client; its `code` is a row of TABLE, which fixes status, type and fault
    ├── UpstreamError     what went wrong between us and a target; raised by `upstream`, turned into a
    │   │                 GatewayError by `gateway`, which alone knows whether another attempt is allowed
    │   ├── ConnectFailed       no connection: nothing was sent, so another attempt is safe
    │   ├── ConnectionLost      the connection broke; `before_reply` says whether any reply byte was seen
    │   ├── ProtocolViolation   the bytes are not an HTTP/1.1 reply that we accept
    │   └── UpstreamTimeout     a deadline passed; `stage` says which (connect, first_byte, between_bytes, total)
    └── OperatorError     a mistake of whoever runs the box: printed as one line, exit code 2, no traceback

Foreign exceptions are mapped at the edge of the room that owns the library. Messages are safe to show: they never
hold a prompt, a key or a header.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal["caller", "appliance", "engine"]


@dataclass(frozen=True, slots=True)
class Row:
    """What one error code means on the wire.

    Attributes:
        status: HTTP status when nothing has been sent yet.
        type: `error.type` on OpenAI routes; a closed set.
        messages_type: `error.type` on the Messages route.
        fault: who has to act.
        meaning: one sentence for the documentation.
        retry: the `x-should-retry` header, or None to leave the SDKs' own rule in force.
    """

    status: int
    type: str
    messages_type: str
    fault: Fault
    meaning: str
    retry: bool | None = None


_BAD: tuple[str, str, Fault] = ("invalid_request", "invalid_request_error", "caller")
_BUSY: tuple[str, str, Fault] = ("overloaded", "overloaded_error", "appliance")
_BROKEN: tuple[str, str, Fault] = ("backend_error", "api_error", "engine")

TABLE: dict[str, Row] = {
    "missing_required_parameter": Row(400, *_BAD, "A required field is absent, null or empty."),
    "malformed_request": Row(400, *_BAD, "The bytes are not an HTTP/1.1 request that a server may accept."),
    "invalid_payload": Row(422, *_BAD, "The body is not a JSON object, or a field has a wrong type, role or range."),
    "parameter_blocked": Row(
        422, *_BAD, "A field could harm the engine or the others that use it; the key may not use it."
    ),
    "request_quarantined": Row(
        422, *_BAD, "This very request was alone under suspicion when the engine crashed again."
    ),
    "model_category_mismatch": Row(422, *_BAD, "The model exists but is of another kind than this route serves."),
    "guardrail_block": Row(
        400,
        "guardrail_block",
        "invalid_request_error",
        "caller",
        "A guardrail of the model does not let the text pass.",
    ),
    "invalid_byok_provider": Row(400, *_BAD, "`x-byok-provider` names no provider that this server may ask."),
    "missing_byok_key": Row(400, *_BAD, "`x-byok-provider` came without a key that can be used."),
    "invalid_api_key": Row(
        401, "authentication_error", "authentication_error", "caller", "No key was sent, or it is not one of ours."
    ),
    "model_not_allowed": Row(403, "permission_denied", "permission_error", "caller", "The key may not use this model."),
    "scope_missing": Row(403, "permission_denied", "permission_error", "caller", "The key lacks the scope it needs."),
    "foreign_origin": Row(
        403,
        "permission_denied",
        "permission_error",
        "caller",
        "An order of the console did not come from one of its own pages, or from one that is too old.",
    ),
    "local_only": Row(
        403, "permission_denied", "permission_error", "caller", "The key's requests may not leave the box."
    ),
    "model_not_found": Row(
        404, "invalid_request", "not_found_error", "caller", "No active model has this name; /v1/models lists them."
    ),
    "request_not_found": Row(404, "invalid_request", "not_found_error", "caller", "No such request is under way."),
    "unknown_url": Row(404, "invalid_request", "not_found_error", "caller", "No route has this path."),
    "method_not_allowed": Row(405, *_BAD, "The path exists; the method does not."),
    "key_refused": Row(409, *_BAD, "The stored keys cannot be changed so; the message says why."),
    "config_refused": Row(409, *_BAD, "The configuration file cannot be changed so; the message says why."),
    "config_changed": Row(412, *_BAD, "The configuration file is another one by now than the one that was read."),
    "config_protected": Row(
        403, "permission_denied", "permission_error", "caller", "`server.edit` does not let this be changed from afar."
    ),
    "request_timeout": Row(408, *_BAD, "The request did not arrive in time."),
    "request_too_large": Row(413, "invalid_request", "request_too_large", "caller", "The body exceeds `max_body`."),
    "misdirected_host": Row(421, *_BAD, "The Host header names a host that this server does not answer to."),
    "headers_too_large": Row(431, *_BAD, "The request head exceeds the limit."),
    "rate_limit_exceeded": Row(
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
        "caller",
        "The key, or all keys together of the model, have used up a limit for now.",
    ),
    "insufficient_quota": Row(
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
        "caller",
        "The key or the model has used up its tokens of this day or month.",
        retry=False,
    ),
    "unsupported": Row(
        501,
        "unsupported",
        "invalid_request_error",
        "caller",
        "The model's engine cannot do this kind of work.",
        retry=False,
    ),
    "backend_unreachable": Row(
        502,
        "backend_unreachable",
        "api_error",
        "engine",
        "No connection to the model server, or it broke before a reply.",
    ),
    "backend_died": Row(502, *_BROKEN, "The model server broke the connection while it was answering."),
    "stream_truncated": Row(502, *_BROKEN, "The stream ended without its closing mark; the answer is incomplete."),
    "empty_response": Row(502, *_BROKEN, "The model server closed the stream without any content."),
    "upstream_protocol": Row(502, *_BROKEN, "The model server sent something that is not an HTTP reply or an event."),
    "redirect_refused": Row(502, *_BROKEN, "The model server answered with a redirect; those are never followed."),
    "provider_key_refused": Row(
        502,
        "backend_error",
        "api_error",
        "appliance",
        "A provider does not accept the key that this server's owner has for it.",
    ),
    "no_healthy_backend": Row(
        503, "backend_unreachable", "overloaded_error", "engine", "Every target of the model fails its health probe."
    ),
    "model_loading": Row(503, *_BUSY, "The model did not finish loading within the time a request may wait."),
    "model_crashed": Row(503, *_BUSY, "The model's process ended by itself; it is started again after a pause."),
    "model_quarantined": Row(503, *_BUSY, "The model failed in a way that would repeat; its operator has to act."),
    "model_blocked": Row(503, *_BUSY, "The GPU memory that the model needs is held by something else."),
    "circuit_open": Row(
        503,
        "backend_unreachable",
        "overloaded_error",
        "engine",
        "The only target of the model failed again and again; it is tried again every few seconds.",
    ),
    "queue_full": Row(503, *_BUSY, "Too many requests are already waiting for this model."),
    "queue_timeout": Row(503, *_BUSY, "No slot of the model became free within the time a request may wait."),
    "too_many_connections": Row(503, *_BUSY, "The server has as many connections open as it can take."),
    "guardrail_unavailable": Row(
        503, *_BUSY, "A guardrail could not ask its guard model, and lets nothing pass unchecked."
    ),
    "draining": Row(503, *_BUSY, "The server, or the process of the model, is being stopped."),
    "cancelled": Row(503, *_BUSY, "An administrator of the server has ended this request.", retry=False),
    "backend_timeout": Row(
        504,
        "backend_timeout",
        "timeout_error",
        "engine",
        "A deadline for the model server's answer passed.",
        retry=False,
    ),
    "internal_error": Row(500, "internal_error", "api_error", "appliance", "A bug in the appliance; the log has more."),
}


class ApplianceError(Exception):
    """The root; nothing raises it directly."""


@dataclass(eq=False)
class GatewayError(ApplianceError):
    """An error answer for a client.

    Attributes:
        code: a key of TABLE.
        message: what happened, whose fault it is, what to do.
        param: dotted path of the offending field, where there is one.
        retry_after: seconds until another try makes sense, for 429 and 503.
        extras: further members of the `error` object (for instance `state` and `reason` of a loading model).
    """

    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        """The row of TABLE for this error's code."""
        return TABLE[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class UpstreamError(ApplianceError):
    """Something went wrong between us and a target."""


class ConnectFailed(UpstreamError):  # noqa: N818 - says what happened
    """No connection could be made; nothing was sent."""


class ConnectionLost(UpstreamError):  # noqa: N818 - says what happened
    """The connection broke after the request, or part of it, was sent."""

    def __init__(self, message: str, *, before_reply: bool) -> None:
        super().__init__(message)
        self.before_reply = before_reply


class ProtocolViolation(UpstreamError):  # noqa: N818 - says what happened
    """The bytes that came back are not a reply that we accept."""


class UpstreamTimeout(UpstreamError):  # noqa: N818 - says what happened
    """A deadline passed while we waited for a target."""

    def __init__(self, stage: Literal["connect", "first_byte", "between_bytes", "total"], seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s ({stage.replace('_', ' ')})")
        self.stage = stage
        self.seconds = seconds


class OperatorError(ApplianceError):
    """A mistake of the person who runs the box; the message is the whole output."""
