"""The members of a request's JSON object, one at a time: what each must be, and how to say that it is not.

Values stay undecoded bytes unless their content matters. Every refusal names the member by its dotted path.
"""

import re
from typing import TypeVar

import msgspec

from appliance.domain.calls import DECIDING
from appliance.errors import GatewayError

LONGEST_MODEL = 512  # characters; the name comes back in error messages and log lines
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
# What we act on: two of one of these would be read one way by us and perhaps another way by the engine.
_ONCE = tuple(f'"{name}"'.encode() for name in sorted(DECIDING))
_SPELT_OUT = re.compile(rb"\\u00[4-7]")  # an escape where a plain letter would do: it may hide one of those names
_KEY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]++|\\.)*+")[ \t\r\n]*:[ \t\r\n]*')
_NEXT = re.compile(rb"[ \t\r\n]*([,}])")
_SHORT = 2**12  # bytes
_MOST_MEMBERS = 1000  # no API has as many; looking through more would hold up everybody else
_MOST_STRANGE = 20_000  # names in members that are none of the large ones below
_MOST_THINGS = 100_000  # objects and texts of a list
_HEAVY = tuple((name, f'"{name}"'.encode()) for name in ("messages", "tools", "prompt", "input", "documents"))
_LARGE_MEMBERS = msgspec.json.Decoder(
    msgspec.defstruct(
        "_LargeMembers",
        [
            (name, msgspec.Raw, msgspec.Raw())
            for name in ("messages", "tools", "prompt", "input", "documents", "system", "response_format", "metadata")
        ],
        gc=False,
    )
)
_THING = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\{')
_NONE = msgspec.Raw()
_GAP = 16  # bytes of blanks and a colon between a name and its value
_NOTHING = re.compile(rb'|null|""|\[\s*\]')
_T = TypeVar("_T")


def read_json(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """A JSON object whose members are looked at later.

    Raises:
        GatewayError: `invalid_payload`: it is none, or what we act on is in it twice.
    """
    try:
        body.decode()  # the JSON scanner does not look inside the strings that it skips
        refuse_strange(body)
        value = decoder.decode(body)
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_payload", f"The body is not UTF-8 (byte {error.start}).") from error
    except msgspec.ValidationError as error:
        raise GatewayError("invalid_payload", "The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise GatewayError("invalid_payload", f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise GatewayError("invalid_payload", "The body is nested too deeply.") from error
    if not clearly_once(body, *((name, getattr(value, text, _NONE)) for text, name in _HEAVY)):
        _refuse_repeated(body)
    return value


def refuse_crowd(body: bytes, word: bytes, most: int, what: str) -> None:
    """Refuse a large body before a crowd of small things in it takes a share of a second from everybody else.

    Args:
        body: of the request.
        word: what each of them holds, such as `"role"`.
        most: so many are let through.
        what: their name.

    Raises:
        GatewayError: `invalid_payload`.
    """
    smallest = len(word) + len(
        b'{:"",}'
    )  # counting takes a third of a second for each gigabyte: not where it cannot be
    if len(body) > most * smallest and body.count(word) > most:
        raise GatewayError("invalid_payload", f"The body has more than {most:,} {what}. Send fewer.")


def refuse_strange(body: bytes) -> None:
    """Refuse a large body with a crowd of members, each of which would become an object of ours.

    Raises:
        GatewayError: `invalid_payload`.
        ValueError: it is no JSON object.
    """
    if len(body) > _MOST_STRANGE * len(b'"":0,') and (colons := body.count(b":")) > _MOST_STRANGE:
        large = _LARGE_MEMBERS.decode(body)
        known = sum(bytes(getattr(large, name)).count(b":") for name in large.__struct_fields__)
        if colons - known > _MOST_STRANGE:
            what = f"{_MOST_STRANGE:,} names outside its messages, tools and inputs"
            raise GatewayError("invalid_payload", f"The body has more than {what}. Send fewer.")


def refuse_many(listed: msgspec.Raw, where: str) -> None:
    """Refuse a large list of very many objects or texts, as `refuse_crowd`, whatever they are called."""
    smallest = len(b"{},")
    if len(listed) > _MOST_THINGS * smallest and sum(map(bytes(listed).count, (b"{", b'"'))) > _MOST_THINGS:
        for count, _ in enumerate(_THING.finditer(listed)):
            if count > _MOST_THINGS:
                raise wrong(where, f"a list with fewer than {_MOST_THINGS:,} texts and objects in it")


def clearly_once(body: bytes, *heavy: tuple[bytes, msgspec.Raw]) -> bool:
    """Whether no member that we act on can be there twice; False when that takes a closer look.

    Args:
        body: a sound object.
        heavy: members whose values need not be looked through, name and value: nothing in a value is at the top level.
            Nearly all of most bodies is in one or two of them, and looking for words is not cheap.
    """
    for name, raw in heavy:
        size = len(raw)
        if size:
            value = bytes(raw)
            key = body.find(name) + len(name)
            start = body.find(value[:1], key, key + _GAP)
            if start < 0 or not body.startswith(value, start):
                return False
            body = body[:start] + b"0" + body[start + size :]  # still an object
    count = body.count
    if len(body) < _SHORT and len(MEMBERS.decode(body)) == count(b":"):
        return True  # every member has at least one colon: none is left for a second one of a name
    for name in _ONCE:  # a name inside a text has escaped quotes, and is not found
        if count(name) > 1:
            return False
    return not _SPELT_OUT.search(body)


def _refuse_repeated(body: bytes) -> None:
    """Walk through the top level of a sound object.

    A member that is there once stands where it is with the value that the decoder kept; of one that is there twice,
    the first has another value, or its name has been seen when the second comes.
    """
    members = MEMBERS.decode(body)
    if len(members) > _MOST_MEMBERS:
        raise GatewayError("invalid_payload", f"The body has more than {_MOST_MEMBERS} members. Send fewer.")
    seen: set[str] = set()
    at = body.index(b"{") + 1
    while found := _KEY.match(body, at):
        name = msgspec.json.decode(found[1], type=str)
        value = bytes(members[name])
        after = _NEXT.match(body, found.end() + len(value))
        if name in seen or after is None or not body.startswith(value, found.end()):
            raise GatewayError("invalid_payload", f"{name!r} is in the body twice. Send it once.", param=name)
        seen.add(name)
        at = after.end()


def absent(raw: msgspec.Raw) -> bool:
    """Whether a member is not there, or null."""
    size = len(raw)
    return not size or (size == 4 and bytes(raw) == b"null")


def first_byte(raw: msgspec.Raw) -> bytes:
    """What kind of value it is: `"`, `[`, `{`, a digit or a letter."""
    return bytes(memoryview(raw)[:1])


def wrong(param: str, expected: str) -> GatewayError:
    """The refusal of a member."""
    return GatewayError("invalid_payload", f"{param!r} must be {expected}.", param=param)


def require(raw: msgspec.Raw, param: str) -> None:
    """Refuse a member that is absent, null or empty.

    Raises:
        GatewayError: `missing_required_parameter`.
    """
    if _NOTHING.fullmatch(raw):
        raise GatewayError("missing_required_parameter", f"{param!r} is required and must not be empty.", param=param)


def scalar(raw: msgspec.Raw, wanted: type[_T], param: str, expected: str) -> _T | None:
    """A member of a simple type; None when absent or null.

    Raises:
        GatewayError: `invalid_payload`.
    """
    if absent(raw):
        return None
    try:
        return msgspec.json.decode(raw, type=wanted)
    except ValueError as error:  # msgspec's own errors and broken unicode
        raise wrong(param, expected) from error


def model_name(raw: msgspec.Raw) -> str:
    """The model that is asked for.

    Raises:
        GatewayError: it is missing, or no name.
    """
    require(raw, "model")
    expected = f"a string of at most {LONGEST_MODEL} characters"
    model = scalar(raw, str, "model", expected)
    if not model or len(model) > LONGEST_MODEL:
        raise wrong("model", expected)
    return model


def request_id_of(raw: msgspec.Raw) -> str | None:
    """The client's own correlation id; raises as `scalar`."""
    expected = "1 to 128 letters, digits or any of . _ : -"
    value = scalar(raw, str, "request_id", expected)
    if value is not None and not REQUEST_ID.fullmatch(value):
        raise wrong("request_id", expected)
    return value


def flag(raw: msgspec.Raw, param: str) -> bool:
    """True or false; raises as `scalar`."""
    return bool(scalar(raw, bool, param, "true or false"))


def check_number(raw: msgspec.Raw, param: str, most: int) -> None:
    """A number from 0 to `most`, if it is there; raises as `scalar`."""
    expected = f"a number from 0 to {most}"
    value = scalar(raw, float, param, expected)
    if value is not None and not 0 <= value <= most:
        raise wrong(param, expected)


def check_count(raw: msgspec.Raw, param: str) -> int | None:
    """A whole number, 0 or more, if it is there; raises as `scalar`."""
    expected = "a whole number, 0 or more"
    value = scalar(raw, int, param, expected)
    if value is not None and value < 0:
        raise wrong(param, expected)
    return value
