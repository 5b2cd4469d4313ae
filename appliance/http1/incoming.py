"""The head of a request that a client sends, read strictly.

Two readers must agree before a head counts: one grammar of ours over all its bytes, and llhttp. The grammar has one
reading only (lines end in CRLF, a name ends at its first colon), so no proxy can see other headers than we do; what
RFC 9112 lets a server repair (folded lines, bare line feeds, blanks before a colon) is refused.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import httptools

from appliance.domain.http import Headers
from appliance.errors import GatewayError

FIELD_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
FIELD_VALUE = r"[\t\x20-\x7e\x80-\xff]*+"  # bytes above ASCII are opaque (obs-text); controls but the tab are not

_HEAD = re.compile(rf"([A-Z][A-Z\-]*+) ([!-~]++) HTTP/1\.([01])\r\n((?:{FIELD_NAME}:{FIELD_VALUE}\r\n)*+)\r\n")
_LINE = re.compile(r"([^:]+):[ \t]*([^\r]*)\r\n")  # only ever run over what _HEAD let through
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~\-]+)(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(r"(?i:(https?)://)([^/?]*)([^?]*)(.*)")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n)(?=.)|\0", re.DOTALL)  # a CR at the very end may still get its LF
_METHOD_STARTS = frozenset(b"ABCDGHLMNOPQRSTU")
_ONE_LINE = frozenset({"host", "content-length", "transfer-encoding", "expect"})
_MARKED = _ONE_LINE | {"connection", "upgrade", "http2-settings"}
_MOST_EMPTY_LINES = 4
MOST_LENGTH_DIGITS = 15
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_NOBODY = object()  # llhttp reports to nobody: only its verdict counts


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How large a head may be.

    Attributes:
        head: bytes of request line and headers, the empty line included.
        headers: number of header lines.
        target: bytes of the request target.
    """

    head: int = 65536
    headers: int = 100
    target: int = 8192


@dataclass(slots=True)
class RequestHead:
    """Request line and headers, and what they say about the body and the connection.

    Attributes:
        method: upper case as sent.
        path: percent-encoded, without the query; of an absolute target only its path.
        query: without the question mark.
        http10: the client speaks HTTP/1.0.
        headers: names in lower case, values as latin-1 without outer blanks, in order of arrival.
        length: content-length in bytes; 0 when there is none.
        chunked: the body is chunked.
        keep_alive: version and Connection header allow another request on this connection.
        expects_continue: the client waits for a 100 before it sends the body.
        upgrade: lower-case protocol of the Upgrade header when Connection names it, else "".
        known: what others found out from these headers, the length excepted; it lasts while they are repeated.

    Requests of one connection share one, so nobody changes anything else in it.
    """

    method: str
    path: str
    query: str
    http10: bool
    headers: Headers
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: str
    known: dict[object, Any] = field(default_factory=dict, compare=False)


def skip_empty_lines(buffer: bytearray, skipped: int = 0) -> int:
    """How many bytes of empty lines stand before the request line; the caller deletes them (RFC 9112 2.2).

    Args:
        buffer: what arrived since the last request ended.
        skipped: bytes of empty lines that the caller has already deleted before this request.

    Raises:
        GatewayError: `malformed_request`, when there are more than a few.
    """
    start = 0
    while buffer.startswith(b"\r\n", start):
        start += 2
        if skipped + start > 2 * _MOST_EMPTY_LINES:
            raise _malformed(f"More than {_MOST_EMPTY_LINES} empty lines stand before the request.")
    return start


def find_head_end(buffer: bytearray, searched: int, limits: HeadLimits) -> int:
    """Offset just past the empty line that ends the head, or -1 when more bytes are needed.

    What can be no head is refused as soon as it shows, so that nobody waits for a deadline to learn it.

    Args:
        buffer: starts at the request line; see `skip_empty_lines`.
        searched: how many of its bytes an earlier call has seen.
        limits: only `head` is applied here.

    Raises:
        GatewayError: `headers_too_large`; `malformed_request` for what is not HTTP/1, a bare CR or LF, or a NUL.
    """
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3))
    if end >= 0:
        if end + 4 > limits.head:
            raise _too_large(limits)
        return end + 4
    if not buffer or buffer == b"\r":  # a lone CR is half of an empty line
        return -1
    _check_start(buffer)
    if _STRAY.search(buffer, max(0, searched - 1)):
        raise _stray_bytes()
    if len(buffer) >= limits.head:
        raise _too_large(limits)
    return -1


def parse_head(raw: bytes, limits: HeadLimits) -> RequestHead:
    """Read one head.

    Args:
        raw: exactly one head, up to and with its empty line.
        limits: every one of them is applied.

    Raises:
        GatewayError: `malformed_request`, `headers_too_large`, `misdirected_host`, `method_not_allowed`, or
            `request_too_large` for a length that no number of ours holds. The connection cannot be used again.
    """
    if len(raw) > limits.head:
        raise _too_large(limits)
    match = _HEAD.fullmatch(raw.decode("latin-1"))
    if match is None:
        raise _explain(raw)
    method, target, minor, lines = match.groups()
    http10 = minor == "0"
    headers, marked = _read_lines(lines, limits)
    if len(target) > limits.target:
        raise GatewayError(
            "headers_too_large", f"The request target is longer than {limits.target} bytes; the client must shorten it."
        )
    if method in {"CONNECT", "TRACE"}:
        raise GatewayError(
            "method_not_allowed",
            f"{method} does not work here: this is not a proxy. Use GET or POST.",
            extras={"allow": "GET, POST"},
        )
    host = marked.get("host")
    if host is not None:
        _check_host(host, "Host header")
    elif not http10:
        raise _malformed("The Host header is missing.", "it must send one")
    path, query = _split_target(method, target, host)
    length, chunked = _read_framing(marked, http10=http10)
    has_body = chunked or length > 0
    upgrade, keep_alive = _read_connection(marked, http10=http10, has_body=has_body)
    _ask_llhttp(raw)
    return RequestHead(
        method,
        path,
        query,
        http10,
        headers,
        length,
        chunked,
        keep_alive,
        "expect" in marked and has_body and not http10,
        upgrade,
    )


def _read_lines(lines: str, limits: HeadLimits) -> tuple[Headers, dict[str, str]]:
    """All headers, and by name those that this file decides on."""
    pairs = _LINE.findall(lines)
    if len(pairs) > limits.headers:
        raise GatewayError(
            "headers_too_large", f"There are more than {limits.headers} headers; the client or a proxy must send fewer."
        )
    blanks_at_end = " \r\n" in lines or "\t\r\n" in lines
    headers: Headers = []
    marked: dict[str, str] = {}
    for sent, text in pairs:
        name = sent.lower()
        value = text.rstrip(" \t") if blanks_at_end else text
        headers.append((name, value))
        if name in _MARKED:
            if name in marked:
                if name in _ONE_LINE:
                    raise _malformed(f"There is more than one {name} header.", "it must send one")
                value = f"{marked[name]},{value}"
            marked[name] = value
    return headers, marked


def _check_host(host: str, where: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) > 65535:
        raise _malformed(f"The {where} is not a host name or address with an optional port.")


def _split_target(method: str, target: str, host: str | None) -> tuple[str, str]:
    """Path and query of any target that an origin server may be asked for."""
    if "#" in target:
        raise _malformed("The request target holds a fragment (#).", "it must keep the fragment to itself")
    if target[0] != "/":
        if target == "*" and method == "OPTIONS":
            return "*", ""
        target = _reduce_absolute(target, host)
    path, _, query = target.partition("?")
    return path, query


def _reduce_absolute(target: str, host: str | None) -> str:
    """The path and query of an absolute target, whose authority must say what the Host header says."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise _malformed("The request target is neither a path nor an http:// or https:// address.")
    scheme, authority, path, query = match.groups()
    _check_host(authority, "authority of the request target")
    if host is None:
        raise _malformed("The request target names a host, but there is no Host header.", "it must send one")
    if _without_default_port(authority, scheme) != _without_default_port(host, scheme):
        raise GatewayError(
            "misdirected_host",
            "The request target names another host than the Host header. The client or a proxy on the way mixed up "
            "two servers; both must name this one.",
        )
    return f"{path or '/'}{query}"


def _without_default_port(authority: str, scheme: str) -> str:
    return authority.lower().removesuffix(":" + _DEFAULT_PORTS[scheme.lower()])


def _read_framing(marked: dict[str, str], *, http10: bool) -> tuple[int, bool]:
    """Length in bytes, and whether the body is chunked: one of both at most."""
    coding, length = marked.get("transfer-encoding"), marked.get("content-length")
    if coding is not None:
        if length is not None:
            raise _malformed("Both Content-Length and Transfer-Encoding are there.", "it must send only one of them")
        if http10:
            raise _malformed("HTTP/1.0 has no Transfer-Encoding.", "it must speak HTTP/1.1 or send a Content-Length")
        if coding.lower() != "chunked":
            raise _malformed("The Transfer-Encoding is not plain chunked.", "it must send chunked and nothing else")
        return 0, True
    if length is None:
        return 0, False
    if not (length.isascii() and length.isdigit()):
        raise _malformed("The Content-Length is not one decimal number.")
    if len(length) > MOST_LENGTH_DIGITS:
        raise GatewayError("request_too_large", "The Content-Length is absurdly large; the client must send less.")
    return int(length), False


def _read_connection(marked: dict[str, str], *, http10: bool, has_body: bool) -> tuple[str, bool]:
    """The protocol to change to ("" for none), and whether the connection may be used again."""
    if "http2-settings" in marked:
        raise _no_h2c()
    if marked.get("expect", "100-continue").lower() != "100-continue":
        raise _malformed("The Expect header asks for something unknown.", "it may only expect 100-continue")
    options = marked.get("connection", "").lower()
    named = {option.strip(" \t") for option in options.split(",")} if "," in options else {options}
    keep_alive = "close" not in named and (not http10 or "keep-alive" in named)
    if "upgrade" not in marked:
        return "", keep_alive
    protocols = [protocol.strip(" \t") for protocol in marked["upgrade"].lower().split(",")]
    if "h2c" in protocols:
        raise _no_h2c()
    if http10 or "upgrade" not in named:
        return "", keep_alive
    if has_body and "websocket" in protocols:
        # llhttp takes such a body for the new protocol's first bytes, others for a body: nobody gets to choose.
        raise _malformed("A request to change to WebSocket has a body.", "it must send that request without one")
    return protocols[0], keep_alive


def _ask_llhttp(raw: bytes) -> None:
    """The second opinion; its reasons are fixed sentences and quote nothing."""
    try:
        httptools.HttpRequestParser(_NOBODY).feed_data(raw)
    except httptools.HttpParserUpgrade:
        return  # a verdict too: the head is fine and asks for another protocol
    except httptools.HttpParserError as error:
        raise _malformed(f"The request line or headers are not well formed ({error}).") from error


def _explain(raw: bytes) -> GatewayError:
    """Words for a head that the grammar refused."""
    try:
        _check_start(raw)
    except GatewayError as error:
        return error
    if _STRAY.search(raw):
        return _stray_bytes()
    line, _, rest = raw.partition(b"\r\n")
    if re.fullmatch(rb"[!-~]+ [!-~]+ HTTP/1\.[01]", line) is None:
        return _malformed("The request line is not METHOD, target and HTTP/1.1 (or 1.0), parted by single spaces.")
    if rest.startswith((b" ", b"\t")) or b"\r\n " in rest or b"\r\n\t" in rest:
        return _malformed("A header line begins with a blank.", "it must send each header on one line")
    for line in rest.removesuffix(b"\r\n\r\n").split(b"\r\n"):
        name, colon, _ = line.partition(b":")
        if not colon or re.fullmatch(FIELD_NAME.encode(), name) is None:
            return _malformed("A header name is not an HTTP token with a colon right after it.")
    return _malformed("The request line or a header value holds a character that may not be there.")


def _check_start(head: bytes | bytearray) -> None:
    if head.startswith(b"\x16"):
        raise _malformed(
            "The client began a TLS handshake, but this port speaks plain HTTP.",
            "it must use an address that starts with http://",
        )
    if head.startswith(b"PRI"):
        raise _malformed(
            "The client speaks HTTP/2 without having asked, but this port speaks HTTP/1.1.",
            "it must be told to use HTTP/1.1",
        )
    if not head or head[0] not in _METHOD_STARTS:
        raise _malformed("What arrived does not begin with an HTTP method.")


def _malformed(what: str, remedy: str = "it must keep to RFC 9112") -> GatewayError:
    """`what` is a sentence; `remedy` is what the sender has to do about it."""
    return GatewayError(
        "malformed_request", f"{what} The fault is in the client or in a proxy between it and us; {remedy}."
    )


def _stray_bytes() -> GatewayError:
    return _malformed("The head holds a line end that is not CRLF, or a NUL.")


def _no_h2c() -> GatewayError:
    # The JDK's HttpClient asks for this by default; ignoring it is what loses the body in other servers.
    return _malformed(
        "The client asks to change to HTTP/2 (h2c), which is not spoken here.",
        "it must be told to use HTTP/1.1 (in Java: HttpClient.Version.HTTP_1_1)",
    )


def _too_large(limits: HeadLimits) -> GatewayError:
    return GatewayError(
        "headers_too_large",
        f"The request line and headers are larger than {limits.head} bytes; the client or a proxy must send less.",
    )


def check_handshake(head: RequestHead) -> None:
    """What a WebSocket handshake must have (RFC 6455 4.2.1); Hypercorn would answer others and then wait for ever."""
    sent = dict(head.headers)
    key = sent.get("sec-websocket-key", "")
    if head.method != "GET" or head.http10 or len(key) != 24 or sent.get("sec-websocket-version") != "13":
        raise GatewayError(
            "malformed_request", "This is not a WebSocket handshake of version 13. The client has to follow RFC 6455."
        )
