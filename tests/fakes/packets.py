"""Requests as raw bytes: what the door must refuse, with the status, and what it must not.

Every entry is a complete request, as a client would send it; refused ones carry a second request where smuggling is
the point, which must never be answered.
"""

import itertools
from collections.abc import Iterable

from appliance.http1.chunked import ChunkedBody
from appliance.http1.incoming import HeadLimits, RequestHead, find_head_end, parse_head, skip_empty_lines

LIMITS = HeadLimits()
MOST_BODY = 1 << 20

_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: box\r\n\r\n"
_CHUNKED = b"POST /v1/x HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n"


def _get(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"%b %b %b" % (method, target, version), b"Host: box", *lines, b"", b""])


def _post(*lines: bytes, body: bytes = b"hello") -> bytes:
    return _get(b"/v1/x", *lines, method=b"POST") + body


def _bare(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


FRAMING: dict[str, bytes] = {
    "CL and TE": _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SMUGGLED),
    "TE and CL": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED),
    "two lengths": _post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello" + _SMUGGLED),
    "two equal lengths": _post(b"Content-Length: 5", b"content-length: 5"),
    "list of lengths": _post(b"Content-Length: 5, 5"),
    "length +5": _post(b"Content-Length: +5"),
    "length -5": _post(b"Content-Length: -5"),
    "length 0x5": _post(b"Content-Length: 0x5"),
    "length a": _post(b"Content-Length: a"),
    "length empty": _post(b"Content-Length:"),
    "length of blanks": _post(b"Content-Length: \t "),
    "length 1 0": _post(b"Content-Length: 1 0"),
    "length 5.0": _post(b"Content-Length: 5.0"),
    "length 5_0": _post(b"Content-Length: 5_0"),
    "length superscript": _post(b"Content-Length: \xb2"),
    "length 5;": _post(b"Content-Length: 5;"),
    "TE gzip, chunked": _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "TE chunked, gzip": _post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "TE chunked, chunked": _post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "TE chunked,": _post(b"Transfer-Encoding: chunked,", body=b"0\r\n\r\n"),
    "TE chunked;a=b": _post(b"Transfer-Encoding: chunked;a=b", body=b"0\r\n\r\n"),
    "two TE": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "TE chunked then identity": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "TE identity": _post(b"Transfer-Encoding: identity"),
    "TE xchunked": _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "TE chunkedx": _post(b"Transfer-Encoding: chunkedx", body=b"0\r\n\r\n"),
    "TE quoted": _post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "TE vertical tab": _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "TE no-break space": _post(b"Transfer-Encoding: chunked\xa0", body=b"0\r\n\r\n"),
    "TE empty": _post(b"Transfer-Encoding:", body=b"0\r\n\r\n"),
    "TE on 1.0": _get(b"/", b"Transfer-Encoding: chunked", version=b"HTTP/1.0") + b"0\r\n\r\n",
}
LINES: dict[str, bytes] = {
    "folded value": _get(b"/", b"A: b", b" c"),
    "folded by tab": _get(b"/", b"A: b", b"\tc"),
    "folded TE": _post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "line of blanks": _get(b"/", b"A: b", b" "),
    "blank before the first header": b"GET / HTTP/1.1\r\n Host: box\r\n\r\n",
    "tab before the first header": b"GET / HTTP/1.1\r\n\tHost: box\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: box\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: box\r\n\r\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: box\nA: b\r\n\r\n",
    "bare LF as the empty line": b"GET / HTTP/1.1\r\nHost: box\r\n\n",
    "bare LF then smuggled": b"GET / HTTP/1.1\nHost: box\n\n" + _SMUGGLED,
    "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: box\r\n\r\n",
    "bare CR in a value": _get(b"/", b"A: b\rc"),
    "bare CR as a line end": _get(b"/", b"A: b\rTransfer-Encoding: chunked"),
    "bare CR in a name": _get(b"/", b"A\rB: b"),
    "bare CR in the target": _get(b"/\rb"),
    "bare CR before the request": b"\r" + _get(),
    "bare LF before the request": b"\n" + _get(),
    "many empty lines": b"\r\n" * 50 + _get(),
    "space before the colon": _get(b"/", b"A : b"),
    "tab before the colon": _get(b"/", b"A\t: b"),
    "space before the colon of CL": _post(b"Content-Length : 5"),
    "name not a token": _get(b"/", b"A(b): c"),
    "name with a blank": _get(b"/", b"A b: c"),
    "name not ASCII": _get(b"/", b"\xc3\xa4: c"),
    "name with a control": _get(b"/", b"A\x01: c"),
    "name with NUL": _get(b"/", b"A\0: c"),
    "empty name": _get(b"/", b": c"),
    "no colon": _get(b"/", b"garbage"),
    "NUL in a value": _get(b"/", b"A: b\0c"),
    "control in a value": _get(b"/", b"A: b\x01c"),
    "DEL in a value": _get(b"/", b"A: b\x7fc"),
    "vertical tab in a value": _get(b"/", b"A: \x0b"),
    "form feed in a value": _get(b"/", b"A: \x0cb"),
    "escape in a value": _get(b"/", b"A: \x1b[2J"),
}
TARGETS: dict[str, bytes] = {
    "NUL in the target": _get(b"/\0"),
    "control in the target": _get(b"/\x01"),
    "DEL in the target": _get(b"/\x7f"),
    "non-ASCII target": _get(b"/\xc3\xa4"),
    "tab in the target": _get(b"/a\tb"),
    "space in the target": _get(b"/a b"),
    "fragment": _get(b"/a#b"),
    "fragment after the query": _get(b"/a?b#c"),
    "no slash": _get(b"v1/models"),
    "authority": _get(b"box:80"),
    "query alone": _get(b"?a"),
    "star with GET": _get(b"*"),
    "star and more": _get(b"*a", method=b"OPTIONS"),
    "ftp": _get(b"ftp://box/"),
    "unix": _get(b"unix:/run/x"),
    "one slash": _get(b"http:/box/"),
    "no authority": _get(b"http:///a"),
    "userinfo in the target": _get(b"http://me@box/"),
    "blank port in the target": _get(b"http://box:/"),
    "absolute without Host on 1.0": b"GET http://box/ HTTP/1.0\r\n\r\n",
}
HOSTS: dict[str, bytes] = {
    "no Host": b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    "no headers at all": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": _get(b"/", b"Host: box"),
    "two Hosts on 1.0": _get(b"/", b"host: evil", version=b"HTTP/1.0"),
} | {
    f"Host {name}": b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"
    for name, value in {
        "empty": b"",
        "with userinfo": b"me@box",
        "with a slash": b"box/a",
        "with a query": b"box?a",
        "with a blank": b"box evil",
        "with a tab": b"box\tevil",
        "list": b"box, evil",
        "with a scheme": b"http://box",
        "not ASCII": b"b\xf6x",
        "with a backslash": b"box\\a",
        "percent-encoded": b"b%6fx",
        "with two ports": b"box:80:81",
        "with an empty port": b"box:",
        "with port 65536": b"box:65536",
        "with port 999999": b"box:999999",
        "with port -1": b"box:-1",
        "with port a": b"box:a",
        "only a port": b":80",
        "open bracket": b"[::1",
        "bracketed name": b"[box]",
        "IPv6 without brackets": b"::1",
        "IPv6 with a zone": b"[fe80::1%25eth0]",
    }.items()
}
REQUEST_LINES: dict[str, bytes] = {
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 with a version": _get(version=b"HTTP/0.9"),
    "HTTP/1.2": _get(version=b"HTTP/1.2"),
    "HTTP/2.0": _get(version=b"HTTP/2.0"),
    "HTTP/2": _get(version=b"HTTP/2"),
    "HTTP/3.0": _get(version=b"HTTP/3.0"),
    "HTTP/01.1": _get(version=b"HTTP/01.1"),
    "HTTP/1.10": _get(version=b"HTTP/1.10"),
    "HTTP/1": _get(version=b"HTTP/1"),
    "lower-case version": _get(version=b"http/1.1"),
    "another protocol": _get(version=b"RTSP/1.0"),
    "HTTP 1.1": _get(version=b"HTTP 1.1"),
    "HTTP/ 1.1": _get(version=b"HTTP/ 1.1"),
    "space before the method": b" " + _get(),
    "space at the end": _get(version=b"HTTP/1.1 "),
    "garbage at the end": _get(version=b"HTTP/1.1 x"),
    "two spaces after the method": _get(b" /"),
    "two spaces after the target": _get(b"/ "),
    "tab after the method": b"GET\t/ HTTP/1.1\r\nHost: box\r\n\r\n",
    "tab after the target": b"GET /\tHTTP/1.1\r\nHost: box\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: box\r\n\r\n",
    "empty target": _get(b""),
    "lower-case method": _get(method=b"get"),
    "mixed-case method": _get(method=b"GeT"),
    "unknown method": _get(method=b"GETT"),
    "RTSP method": _get(method=b"DESCRIBE"),
    "quoted method": _get(method=b'"GET"'),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a reply": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"\xff\xfe\xfd\r\n\r\n",
    "JSON": b'{"model": "m"}\r\n\r\n',
}
UPGRADES: dict[str, bytes] = {
    "h2c": _get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "h2c alone": _get(b"/", b"Upgrade: h2c"),
    "h2c upper case": _get(b"/", b"Connection: upgrade", b"Upgrade: H2C"),
    "h2c in a list": _get(b"/", b"Connection: upgrade", b"Upgrade: websocket, h2c"),
    "h2c in a second line": _get(b"/", b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c"),
    "HTTP2-Settings alone": _get(b"/", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "WebSocket with a body": _post(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 5"),
    "Expect nonsense": _post(b"Expect: 200-ok", b"Content-Length: 5"),
    "Expect empty": _post(b"Expect:", b"Content-Length: 5"),
    "two Expects": _post(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5"),
}
CHUNKS: dict[str, bytes] = {
    f"chunk {name}": _CHUNKED + body + b"\r\n\r\n" + _SMUGGLED
    for name, body in {
        "size empty": b"\r\nhello\r\n0",
        "size not hex": b"g\r\nhello\r\n0",
        "size signed": b"+5\r\nhello\r\n0",
        "size negative": b"-5\r\nhello\r\n0",
        "size with 0x": b"0x5\r\nhello\r\n0",
        "size after a blank": b" 5\r\nhello\r\n0",
        "size before a blank": b"5 \r\nhello\r\n0",
        "size before a tab": b"5\t\r\nhello\r\n0",
        "size with underscore": b"1_0\r\nhello\r\n0",
        "size of 17 digits": b"00000000000000005\r\nhello\r\n0",
        "size and bare LF": b"5\nhello\r\n0",
        "size and bare CR": b"5\rhello\r\n0",
        "size and CR CR LF": b"5\r\r\nhello\r\n0",
        "data without CRLF": b"5\r\nhello0",
        "data and bare LF": b"5\r\nhello\n0",
        "data and bare CR": b"5\r\nhello\r0",
        "data too long": b"5\r\nhello!\r\n0",
        "data too short": b"6\r\nhello\r\n0",
        "extension with NUL": b"5;a=\0\r\nhello\r\n0",
        "extension with LF": b"5;a\nhello\r\n0",
        "extension with CR": b"5;a\rb\r\nhello\r\n0",
        "extension with a control": b'5;a="\x01"\r\nhello\r\n0',
        "extension without a name": b"5;\r\nhello\r\n0",
        "extension of a blank": b"5; a\r\nhello\r\n0",
        "extension too long": b"5;a=" + b"b" * 300 + b"\r\nhello\r\n0",
        "trailer folded": b"0\r\nA: b\r\n c",
        "trailer without a colon": b"0\r\nA",
        "trailer with a blank before the colon": b"0\r\nA : b",
        "trailer with a bare LF": b"0\r\nA: b\nC: d",
        "trailer with a bare CR": b"0\r\nA: b\rC: d",
        "trailer with NUL": b"0\r\nA: \0",
        "trailer without a name": b"0\r\n: b",
        "trailer Content-Length": b"0\r\nContent-Length: 5",
        "trailer Transfer-Encoding": b"0\r\ntransfer-encoding: chunked",
        "trailer Host": b"0\r\nHOST: evil",
        "trailer Authorization": b"0\r\nAuthorization: Bearer x",
        "trailers too many": b"0\r\n" + b"\r\n".join([b"A: b"] * 33),
        "trailers too large": b"0\r\nA: " + b"b" * 9000,
    }.items()
} | {
    "chunk trailers end in a bare LF": _CHUNKED + b"0\r\n\n" + _SMUGGLED,
}
OTHER_STATUS: dict[str, tuple[bytes, int]] = {
    "CONNECT": (b"CONNECT box:443 HTTP/1.1\r\nHost: box:443\r\n\r\n", 405),
    "TRACE": (_get(method=b"TRACE"), 405),
    "absolute target of another host": (_get(b"http://evil/"), 421),
    "absolute target of another port": (_get(b"http://box:81/"), 421),
    "https target, http port": (_get(b"https://box:80/"), 421),
    "length of 16 digits": (_post(b"Content-Length: 1000000000000000"), 413),
    "length past 64 bits": (_post(b"Content-Length: 18446744073709551621"), 413),
    "chunk past any limit": (_CHUNKED + b"FFFFFFFFFFFFFFFF\r\nx", 413),
    "101 headers": (_get(b"/", *[b"A: b"] * 100), 431),
    "target of 8193 bytes": (_get(b"/" + b"a" * 8192), 431),
    "head past 64 KiB": (_get(b"/", b"A: " + b"b" * 65536), 431),
}

REFUSED: dict[str, tuple[bytes, int]] = OTHER_STATUS | {
    name: (raw, 400)
    for table in (FRAMING, LINES, TARGETS, HOSTS, REQUEST_LINES, UPGRADES, CHUNKS)
    for name, raw in table.items()
}

ACCEPTED: dict[str, bytes] = {
    "GET": _get(),
    "HEAD": _get(method=b"HEAD"),
    "OPTIONS *": _get(b"*", method=b"OPTIONS"),
    "DELETE": _get(b"/v1/x", method=b"DELETE"),
    "POST": _post(b"Content-Length: 5"),
    "POST without a length": _post(body=b""),
    "POST of nothing": _post(b"Content-Length: 0", body=b""),
    "length with zeros": _post(b"Content-Length: 0005"),
    "GET with a body": _get(b"/", b"Content-Length: 5") + b"hello",
    "chunked": _CHUNKED + b"2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n",
    "chunked in capitals": _post(b"Transfer-Encoding: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunk extensions and trailers": _CHUNKED + b'5;a;b=c;d="e f\\""\r\nhello\r\n0;x\r\nA: b\r\nC:\r\n\r\n',
    "empty lines first": b"\r\n\r\n" + _get(),
    "1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "1.0 kept alive": _get(b"/", b"Connection: Keep-Alive", version=b"HTTP/1.0"),
    "close": _get(b"/", b"Connection: close"),
    "absolute": _get(b"http://BOX:80/v1/models?a=b"),
    "absolute without a path": _get(b"HTTPS://box?a"),
    "query": _get(b"/v1/models?a=b&c=%20?d"),
    "encoded path": _get(b"/v1/models/a%2Fb"),
    "odd characters in the target": _get(b"/v1/{a}|b?c=[d]^\"'<>\\"),
    "two slashes": _get(b"//a/b"),
    "port 65535": b"GET / HTTP/1.1\r\nHost: box:65535\r\n\r\n",
    "IPv6": b"GET / HTTP/1.1\r\nHost: [fe80::1]:8000\r\n\r\n",
    "expects": _post(b"Expect: 100-Continue", b"Content-Length: 5"),
    "WebSocket": _get(b"/", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Version: 13"),
    "obs-text": _get(b"/", b"A: \xc3\xa4\xff\x80\xa0"),
    "tab in a value": _get(b"/", b"A: \t b\tc \t"),
    "empty values": _get(b"/", b"A:", b"B: ", b"C:\t"),
    "no blank after the colon": b"GET / HTTP/1.1\r\nhost:box\r\nA:b:c\r\n\r\n",
    "every token character": _get(b"/", b"!#$%&'*+-.^_`|~09azAZ: b"),
    "100 headers": _get(b"/", *[b"A: b"] * 99),
}


def cut(raw: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The bytes in pieces; a cut past the end does nothing."""
    edges = [0, *sorted({at for at in cuts if 0 < at < len(raw)}), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


def read(pieces: Iterable[bytes]) -> tuple[RequestHead, bytes, bytes] | None:
    """What a connection does with a buffer: head, body and what is left of the bytes, or None when they ended early."""
    buffer = bytearray()
    head: RequestHead | None = None
    searched = skipped = 0
    body = ChunkedBody(MOST_BODY)
    for piece in pieces:
        buffer += piece
        if head is None:
            empty = skip_empty_lines(buffer, skipped)
            del buffer[:empty]
            skipped, searched = skipped + empty, searched if not empty else 0
            end = find_head_end(buffer, searched, LIMITS)
            searched = len(buffer)
            if end < 0:
                continue
            head = parse_head(bytes(buffer[:end]), LIMITS)
            del buffer[:end]
        if head.chunked and not body.complete:
            del buffer[: body.feed(buffer)]
    if head is None:
        return None
    if head.chunked:
        return (head, body.take(), bytes(buffer)) if body.complete else None
    if len(buffer) < head.length:
        return None
    return head, bytes(buffer[: head.length]), bytes(buffer[head.length :])
