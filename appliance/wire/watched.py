"""The members of a request that could harm an engine or those who share it; `parameters` judges them.

They are picked up undecoded, in the pass that reads the rest where a request has none but usual ones. Media is picked
up where it lies somewhere else: what is inline is as harmless as its text.
"""

import re
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from appliance.domain.parameters import RULES
from appliance.wire.members import MEMBERS, refuse_many, refuse_strange


class Usual(msgspec.Struct, gc=False, kw_only=True):
    """Members that many requests have, undecoded: the harmless ones, and those of the table that are worth a look.

    A request with no others needs no second pass to find out what else it has.
    """

    tools: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    stop: msgspec.Raw = msgspec.Raw()
    logprobs: msgspec.Raw = msgspec.Raw()
    top_logprobs: msgspec.Raw = msgspec.Raw()
    # harmless
    tool_choice: msgspec.Raw = msgspec.Raw()
    parallel_tool_calls: msgspec.Raw = msgspec.Raw()
    frequency_penalty: msgspec.Raw = msgspec.Raw()
    presence_penalty: msgspec.Raw = msgspec.Raw()
    repetition_penalty: msgspec.Raw = msgspec.Raw()
    top_k: msgspec.Raw = msgspec.Raw()
    min_p: msgspec.Raw = msgspec.Raw()
    seed: msgspec.Raw = msgspec.Raw()
    user: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    store: msgspec.Raw = msgspec.Raw()
    reasoning_effort: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    cache_prompt: msgspec.Raw = msgspec.Raw()
    encoding_format: msgspec.Raw = msgspec.Raw()
    dimensions: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, gc=False):
    """The members of a content part in which something may lie elsewhere."""

    image_url: msgspec.Raw = msgspec.Raw()
    video_url: msgspec.Raw = msgspec.Raw()
    audio_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    input_video: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()
    image: msgspec.Raw = msgspec.Raw()
    image_embeds: msgspec.Raw = msgspec.Raw()
    audio_embeds: msgspec.Raw = msgspec.Raw()


_PLACES = _Part.__struct_fields__
_places = attrgetter(*_PLACES)
_NO_PLACE = _places(_Part())
_PARTS = msgspec.json.Decoder(list[_Part])
_MAY_NAME_MEDIA = re.compile(rb'url"|"path"|"file"|\\u00')  # an escape may hide such a name
_ELSEWHERE = frozenset({"url", "file_url", "image_url", "video_url", "audio_url", "path", "file"})


def usual(body: Usual) -> dict[str, bytes] | None:
    """Those of its members that are in the table, by name; None nearly always."""
    if not (len(body.tools) or len(body.stop) or len(body.response_format) or len(body.logprobs)):
        return {"top_logprobs": bytes(body.top_logprobs)} if len(body.top_logprobs) else None
    names = ("tools", "stop", "response_format", "logprobs", "top_logprobs")
    return {name: bytes(raw) for name in names if len(raw := getattr(body, name))}


def unusual(body: bytes) -> dict[str, bytes] | None:
    """Whatever of the table a JSON object has, by name; raises as `refuse_strange`."""
    refuse_strange(body)
    return _listed(MEMBERS.decode(body)) or None


def _listed(members: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in members.items() if name in RULES}


def elsewhere(content: msgspec.Raw, where: str, found: dict[str, bytes]) -> None:
    """Note media of a message's list of parts that is not inline, by its place.

    Raises:
        GatewayError: `invalid_payload`: there are too many.
        ValueError: it is no list of objects.
    """
    refuse_many(content, where)
    for number, part in enumerate(_PARTS.decode(content)):
        values = _places(part)
        if values == _NO_PLACE:
            continue
        for name, raw in zip(_PLACES, values, strict=True):
            if not len(raw):
                continue
            url = b"true" if name.endswith("_embeds") else _url(raw)
            if url and not url.startswith(b'"data:'):
                found[f"{where}[{number}].{name}"] = url


def _url(raw: msgspec.Raw) -> bytes:
    """What says where it lies, undecoded; empty where nothing does."""
    first = memoryview(raw)[0]
    if first == 34:
        return bytes(memoryview(raw)[:512])
    if first != 123:
        return b""
    members = MEMBERS.decode(raw)
    data = members.get("data", b"")
    if b"://" in bytes(memoryview(data)[:32]):  # a place where there should be data
        return bytes(data)
    return next((bytes(members[name]) for name in ("url", "file_url", "path") if name in members), b"")


def walked(body: bytes) -> dict[str, bytes] | None:
    """What is to be judged of a request whose grammar nobody here knows: members by name, media wherever it is."""
    members = MEMBERS.decode(body)
    found = _listed(members)
    for name, raw in members.items():
        if name not in found and len(raw) and memoryview(raw)[0] in b"[{" and _MAY_NAME_MEDIA.search(raw):
            for place, text in _texts(msgspec.json.decode(raw), name):
                found[place] = msgspec.json.encode(text)
    return found or None


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text that says where something lies, by its place."""
    left = [(value, where)]
    while left:
        here, place = left.pop()
        if isinstance(here, dict):
            for name, inner in here.items():
                if not isinstance(inner, str):
                    left.append((inner, f"{place}.{name}"))
                elif name in _ELSEWHERE and "://" in inner[:64]:
                    yield f"{place}.{name}", inner
        elif isinstance(here, list):
            left += [
                (inner, f"{place}[{number}]") for number, inner in enumerate(here) if isinstance(inner, dict | list)
            ]
