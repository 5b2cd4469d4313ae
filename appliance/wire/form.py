"""A multipart form (RFC 7578) of which only one field matters: which model it is for; and, to guardrails, its prompt.

What else it holds, a recording above all, is neither looked at nor copied. Clients put the model before the recording
or after it: OpenAI's own examples for curl do the latter.
"""

import re
from collections.abc import Iterator

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.wire.members import LONGEST_MODEL

_BOUNDARY = re.compile(r'multipart/form-data\b.*?;\s*boundary=(?:"([^"\\]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_NAME = re.compile(
    rb'[\r\n]content-disposition:[ \t]*form-data;[ \t]*name=(?:"([^"\\\r\n]*)"|([\w.-]+))', re.IGNORECASE
)
_SECOND_NAME = re.compile(rb"\bname\*|\r\n[ \t]", re.IGNORECASE)  # spellings that not everybody reads alike
_MOST_FIELDS = 64
_LONGEST_HEAD = 4096  # bytes of the lines above a field's value


def parse_form(operation: Operation, body: bytes, content_type: str) -> Call:
    """Read a request that is a form.

    Raises:
        GatewayError: `missing_required_parameter` or `invalid_payload`.
    """
    if not body:
        raise GatewayError("missing_required_parameter", "'model' is required, and the body is empty.", param="model")
    found = _place(body, content_type, b"model")
    if found is None or found[0] == found[1]:
        message = "'model' is required: the form has no such field, or it is empty."
        raise GatewayError("missing_required_parameter", message, param="model")
    start, end = found
    try:
        model = body[start:end].decode() if end - start <= 4 * LONGEST_MODEL else ""
    except UnicodeDecodeError:
        model = ""
    if not model or len(model) > LONGEST_MODEL:
        words = f"'model' must be text of at most {LONGEST_MODEL} characters."
        raise GatewayError("invalid_payload", words, param="model")
    return Call(operation, model, body, content_type=content_type)


def with_model(body: bytes, content_type: str, model: str) -> bytes:
    """The same form for a model of another name."""
    found = _place(body, content_type, b"model")
    if found is None:
        raise ValueError("the form has no model")
    view = memoryview(body)
    return b"".join((view[: found[0]], model.encode(), view[found[1] :]))


def prompt_of(body: bytes, content_type: str) -> str:
    """The text that goes with a recording; "" when there is none.

    Raises:
        GatewayError: `invalid_payload`: it is no text, or is there twice.
    """
    found = _place(body, content_type, b"prompt")
    try:
        return body[found[0] : found[1]].decode() if found else ""
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_payload", "'prompt' must be text in UTF-8.", param="prompt") from error


def with_prompt(body: bytes, content_type: str, prompt: str) -> bytes:
    """The same form with another text in the place of the one it has."""
    found = _place(body, content_type, b"prompt")
    if found is None:
        return body
    view = memoryview(body)
    return b"".join((view[: found[0]], prompt.encode(), view[found[1] :]))


def _place(body: bytes, content_type: str, wanted: bytes) -> tuple[int, int] | None:
    """Where the value of a field stands; None when there is no such field.

    Raises:
        GatewayError: `invalid_payload`: it is not a form, or the field is there twice.
    """
    places = [place for name, place in _fields(body, content_type) if name == wanted]
    if len(places) > 1:
        name = wanted.decode()
        raise GatewayError("invalid_payload", f"{name!r} is in the form twice. Send it once.", param=name)
    return places[0] if places else None


def _fields(body: bytes, content_type: str) -> Iterator[tuple[bytes, tuple[int, int]]]:
    found = _BOUNDARY.match(content_type)
    if found is None:
        message = "The body must be a form: content-type multipart/form-data, with its boundary."
        raise GatewayError("invalid_payload", message)
    dashes = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    mark = b"\r\n" + dashes
    at = 0 if body.startswith(dashes) else body.find(mark) + 2
    if at == 1:
        raise _broken("its boundary is not in it")
    at += len(dashes)
    for _ in range(_MOST_FIELDS):
        if body.startswith(b"--", at):
            return
        line = body.find(b"\r\n", at, at + _LONGEST_HEAD)
        head = body.find(b"\r\n\r\n", line, line + _LONGEST_HEAD) if line >= 0 else -1
        end = body.find(mark, head + 4) if head >= 0 else -1
        if end < 0:
            raise _broken("a field has no end")
        name = _NAME.search(body, line, head)
        if name is None or _SECOND_NAME.search(body, line, head):
            raise _broken("a field has no name, or one that can be read in two ways")
        yield name[1] or name[2] or b"", (head + 4, end)
        at = end + len(mark)
    raise _broken(f"it has more than {_MOST_FIELDS} fields")


def _broken(why: str) -> GatewayError:
    return GatewayError("invalid_payload", f"The body is not the form that it says it is: {why}.")
