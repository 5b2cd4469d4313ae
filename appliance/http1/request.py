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


class HeadTemplate:
    """A request head, checked once and rendered often: only one header's value and the body's length still change.

    Args:
        method: upper case.
        path: what stands in the request line, query included.
        authority: the Host header.
        headers: everything else but the framing, which is added here.
        varying: name of the header whose value changes; it stands right after Host. Empty when there is none.

    Raises:
        ValueError: a part holds a CR, LF or NUL, or the method, path or a name is not one.
    """

    __slots__ = ("_after", "_before", "_sized", "_varying")

    def __init__(self, method: str, path: str, authority: str, headers: Headers, varying: str = "") -> None:
        check_parts(method, path, authority, [(varying, ""), *headers] if varying else headers)
        self._before = f"{method} {path} HTTP/1.1\r\nhost: {authority}\r\n" + (f"{varying}: " if varying else "")
        self._after = ("\r\n" if varying else "") + "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._varying = varying
        self._sized = method != "GET"

    def render(self, value: str, body_length: int, trace: str = "") -> bytes:
        """The request line and headers, up to and with the empty line.

        Args:
            value: of the varying header; empty when there is none.
            body_length: bytes of the body; a GET without one gets no content-length.
            trace: value of a header traceparent right behind that one, where there is one; empty for none.

        Raises:
            ValueError: a value holds a CR, LF or NUL, or a part is not encodable in latin-1.
        """
        if _BREAKS.search(value + trace):
            raise ValueError(f"the value of header {self._varying} or the trace holds a line break or a NUL")
        if trace:
            value = f"{value}\r\ntraceparent: {trace}"
        if body_length or self._sized:
            text = f"{self._before}{value}{self._after}content-length: {body_length}\r\n\r\n"
        else:
            text = f"{self._before}{value}{self._after}\r\n"
        return text.encode("latin-1")


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
    return HeadTemplate(method, path, authority, headers).render("", body_length)
