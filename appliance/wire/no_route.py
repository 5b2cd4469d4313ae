"""Whether an engine's refusal means that it has no such route, or something about the request itself.

An engine mounts the routes of the work it was started for. What it says of the others, as tried or read: vLLM and
SGLang `{"detail":"Not Found"}`, llama-server `File Not Found`, Ollama `404 page not found`, LocalAI `Not Found`, OpenAI
`Invalid URL (POST /…)`, and llama-server 501 where a flag is missing. A 404 about a model or a stored answer names it.
"""

import msgspec

MAY_MEAN_IT = frozenset({404, 405, 501})  # statuses
_WORDS = {"", "not found", "file not found", "404 page not found", "method not allowed", "resource not found"}


class _Error(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Error | str = ""
    detail: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)


def is_no_route(status: int, body: bytes) -> bool:
    """Whether a reply means that the route is not there.

    Args:
        status: of the reply.
        body: of the reply, whole.
    """
    if status in (405, 501):
        return True
    if status != 404:
        return False
    try:
        refusal = _REFUSAL.decode(body)
    except (ValueError, RecursionError):
        return not body.lstrip().startswith(b"{")  # plain words or a page
    said = refusal.error.message if isinstance(refusal.error, _Error) else refusal.error
    words = (said or refusal.detail).strip(" .").lower()
    return words in _WORDS or words.startswith("invalid url")
