"""What the scripted engine says where it makes no text token by token: ranks, scores, tokens, transcripts, sound."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from appliance.scripted.replies import CREATED, BadRequest, Event, words

SOUND = "audio/wav"
_FIELD = re.compile(rb'name="?(\w+)"?[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)
_PIECES = 16
Json = Mapping[str, Any]


def knows(path: str) -> bool:
    """Whether there is such a route here."""
    return path in _TASKS


def of_json(path: str, body: Json, model: str) -> dict[str, Any] | None:
    """The reply of a route that takes JSON; None when there is no such route.

    Raises:
        BadRequest: something is missing.
    """
    task = _TASKS.get(path)
    return None if task is None else {"model": body.get("model") or model} | task(body)


def transcript(body: bytes, model: str) -> tuple[str, bytes]:
    """Content type and body of the answer to a form with a recording.

    Raises:
        BadRequest: the form has none.
    """
    fields = {name.decode(): value for name, value in _FIELD.findall(body)}
    if "file" not in fields:
        raise BadRequest("'file' is required")
    text = "".join(words(hashlib.sha256(fields["file"]).digest(), 4))
    if fields.get("response_format") == b"text":
        return "text/plain; charset=utf-8", text.encode() + b"\n"
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "total_tokens": 18}
    if fields.get("stream") == b"true":
        said = [{"type": "transcript.text.delta", "delta": text}, {"type": "transcript.text.done", "text": text}]
        said[1] |= {"usage": usage}  # type: ignore[dict-item]
        return "text/event-stream", b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in said)
    return "application/json", json.dumps({"text": text, "model": model, "usage": usage}).encode()


def sound(body: Json) -> Iterator[Event]:
    """Something that looks like a WAV file, in pieces as it is spoken; a piece counts as a token.

    Raises:
        BadRequest: there is nothing to say.
    """
    digest = hashlib.sha256(_need(body, "input").encode()).digest()

    def pieces() -> Iterator[Event]:
        yield Event(b"RIFF\xff\xff\xff\xffWAVEfmt ")
        for _ in range(_PIECES):
            yield Event(digest, token=True)

    return pieces()


def _need(body: Json, name: str) -> Any:
    if not body.get(name):
        raise BadRequest(f"{name!r} is required")
    return body[name]


def _rerank(body: Json) -> dict[str, Any]:
    query, documents = set(str(_need(body, "query")).lower().split()), _need(body, "documents")
    scores = [len(query & set(str(text).lower().split())) / max(len(query), 1) for text in documents]
    order = sorted(range(len(documents)), key=lambda index: -scores[index])[: body.get("top_n")]
    results = [{"index": at, "relevance_score": scores[at], "document": {"text": documents[at]}} for at in order]
    count = sum(len(str(text).split()) for text in documents)
    return {"id": "rerank-1", "results": results, "usage": {"prompt_tokens": count, "total_tokens": count}}


def _score(body: Json) -> dict[str, Any]:
    texts = _need(body, "text_2")
    pairs = [texts] if isinstance(texts, str) else texts
    data = [{"index": index, "object": "score", "score": 0.5} for index in range(len(pairs))]
    return {"object": "list", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def _tokenize(body: Json) -> dict[str, Any]:
    text = body.get("prompt") or body.get("content") or json.dumps(body.get("messages"))
    tokens = [len(word) for word in str(text).split()]
    return {"count": len(tokens), "max_model_len": 4096, "tokens": tokens}


def _detokenize(body: Json) -> dict[str, Any]:
    return {"prompt": " ".join("x" * token for token in _need(body, "tokens"))}


def _moderate(body: Json) -> dict[str, Any]:
    flagged = "violence" in str(_need(body, "input"))
    result = {"flagged": flagged, "categories": {"violence": flagged}, "category_scores": {"violence": float(flagged)}}
    return {"id": "modr-1", "results": [result]}


def _image(body: Json) -> dict[str, Any]:
    _need(body, "prompt")
    return {"created": CREATED, "data": [{"b64_json": "iVBORw0KGgo="}]}


def _input_tokens(body: Json) -> dict[str, Any]:
    return {"object": "response.input_tokens", "input_tokens": len(str(_need(body, "input")).split())}


_TASKS: dict[str, Callable[[Json], dict[str, Any]]] = {
    "/v1/rerank": _rerank,
    "/v1/score": _score,
    "/tokenize": _tokenize,
    "/detokenize": _detokenize,
    "/v1/moderations": _moderate,
    "/v1/images/generations": _image,
    "/v1/responses/input_tokens": _input_tokens,
}
