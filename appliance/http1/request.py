"""The head of a request that we send."""

import re

from appliance.domain.http import Headers

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"[\x21-\x7e]+")
_BREAKS = re.compile(r"[\r\n\0]")


def check_parts(method: str, path: str, authority: str, headers: Headers) -> None:
    """Refuse anything that could end a line early and so smuggle a second request.

    Raises:
        ValueError: a part holds a CR, LF or NUL, or the method, path or a name is not one; the value is not shown.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError("the method is not an HTTP token")
    if not _TARGET.fullmatch(path):
        raise ValueError("the path holds a blank, a control character or no character at all")
    if not _TARGET.fullmatch(authority):
        raise ValueError("the host holds a blank, a control character or no character at all")
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header name is not an HTTP token")
        if _BREAKS.search(value):
            raise ValueError(f"the value of header {name} holds a line break or a NUL")


def render_head(method: str, path: str, authority: str, headers: Headers, body_length: int) -> bytes:
    """The request line and headers, up to and with the empty line.

    Args:
        method: upper case.
        path: what stands in the request line, query included.
        authority: the Host header.
        headers: everything else but the framing, which is added here.
        body_length: bytes of the body; a GET without one gets no content-length.

    Raises:
        ValueError: a part holds a CR, LF or NUL, or is not encodable in latin-1.
    """
    check_parts(method, path, authority, headers)
    lines = [f"{method} {path} HTTP/1.1", f"host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body_length or method != "GET":
        lines.append(f"content-length: {body_length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
