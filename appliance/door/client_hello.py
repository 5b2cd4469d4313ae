"""The host name that a TLS client asks for, read from its first message (RFC 8446 §4.1.2, RFC 6066 §3).

OpenSSL could call back with it, but Python's callback prints a traceback for a name outside ASCII, which any client can
send. Nothing is judged here: OpenSSL reads the same bytes afterwards and refuses what is wrong with them.
"""

_MOST = 16 * 1024  # bytes; real ones have less than 3 KiB
_MOST_RECORDS = 8
_HANDSHAKE = 22  # record type
_CLIENT_HELLO = 1  # message type
_RANDOM_END = 4 + 2 + 32  # message header, version, random
_SERVER_NAME = 0  # extension, and in it the type of a host name


def server_name(data: bytes | bytearray) -> str | None:
    """The name in lower case, "" when there is none that can be read; None while more bytes are needed."""
    message, more = _first_message(data)
    if message is None:
        return None if more else ""
    try:
        return _name(message)
    except ValueError:
        return ""


def _first_message(data: bytes | bytearray) -> tuple[bytes | None, bool]:
    """The first handshake message, if it is a whole ClientHello; else whether more bytes could make it one."""
    message = bytearray()
    at = 0
    for _ in range(_MOST_RECORDS):
        if at + 5 > len(data):
            break
        size = int.from_bytes(data[at + 3 : at + 5])
        if data[at] != _HANDSHAKE or not size:
            return None, False
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message and message[0] != _CLIENT_HELLO:
            return None, False
        if len(message) >= 4 and len(message) >= (end := 4 + int.from_bytes(message[1:4])):
            return bytes(message[:end]), False
    return None, at + 5 > len(data) and len(data) < _MOST


def _name(message: bytes) -> str:
    _, at = _vector(message, _RANDOM_END, 1)  # session id
    _, at = _vector(message, at, 2)  # ciphers
    _, at = _vector(message, at, 1)  # compression
    if at == len(message):
        return ""
    extensions, _ = _vector(message, at, 2)
    at = 0
    while at < len(extensions):
        kind = int.from_bytes(extensions[at : at + 2])
        content, at = _vector(extensions, at + 2, 2)
        if kind == _SERVER_NAME:
            names, _ = _vector(content, 0, 2)
            name, _ = _vector(names, 1, 2)
            return name.decode("ascii").lower().rstrip(".") if names[0] == _SERVER_NAME else ""
    return ""


def _vector(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """The bytes of a field that begins with its length, and where it ends."""
    start = at + width
    end = start + int.from_bytes(data[at:start])
    if end > len(data) or start > len(data):
        raise ValueError("a field is longer than the message")
    return data[start:end], end
