"""What requests have in common that share a beginning, so that the replica which has read it can answer the next one.

A client may say it: by the header `x-session-id`, by `prompt_cache_key`, by `user`, or by `metadata.user_id` of a
Messages request. Else it is the model, what the system says, and the first KiB of what the user says first: that stays
the same from one turn of a conversation to the next, and for many conversations with one set of instructions.
"""

import hashlib

import msgspec

from appliance.domain.calls import Call, Operation
from appliance.domain.http import Headers

_FIRST = 1024  # bytes of what is not instructions
_INSTRUCTING = {"system", "developer"}
_HEADER = "x-session-id"


class _Metadata(msgspec.Struct, gc=False):
    user_id: msgspec.Raw = msgspec.Raw()


class _Hints(msgspec.Struct, gc=False):
    prompt_cache_key: msgspec.Raw = msgspec.Raw()
    user: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()


_HINTS = msgspec.json.Decoder(_Hints)
_METADATA = msgspec.json.Decoder(_Metadata)
_MESSAGES = msgspec.json.Decoder(list[_Message])
_NAMING_NOBODY = {b"", b"null", b'""'}
# Those whose engine keeps what it has read; the others gain nothing by going where they went before.
_READING = {Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES, Operation.RESPONSES}


def affinity_of(call: Call, headers: Headers) -> bytes:
    """A few bytes that are the same for requests which should go to the same replica; empty where it does not matter.

    Args:
        call: the request, found to be good.
        headers: of the request, names in lower case.
    """
    if call.operation not in _READING:
        return b""
    said = next((value for name, value in headers if name == _HEADER and value), "")
    try:
        hints = _HINTS.decode(call.body)
        return _digest(b"session", said.encode()) if said else _named(hints) or _begun(call, hints)
    except (ValueError, RecursionError):
        return b""


def _named(hints: _Hints) -> bytes:
    for name in (hints.prompt_cache_key, hints.user, _user_of(hints.metadata)):
        if (value := bytes(name)) not in _NAMING_NOBODY:
            return _digest(b"named", value)
    return b""


def _user_of(metadata: msgspec.Raw) -> msgspec.Raw:
    return _METADATA.decode(metadata).user_id if bytes(metadata)[:1] == b"{" else msgspec.Raw()


def _begun(call: Call, hints: _Hints) -> bytes:
    instructions, first = _conversation(hints.messages)
    rest = first or bytes(hints.prompt) or bytes(hints.input)
    return _digest(call.model.encode(), bytes(hints.system), bytes(hints.instructions), *instructions, rest[:_FIRST])


def _conversation(messages: msgspec.Raw) -> tuple[list[bytes], bytes]:
    """What instructs, and what somebody says first."""
    if not bytes(messages):
        return [], b""
    found = _MESSAGES.decode(messages)
    instructions = [bytes(message.content) for message in found if message.role in _INSTRUCTING]
    first = next((bytes(message.content) for message in found if message.role not in _INSTRUCTING), b"")
    return instructions, first


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
