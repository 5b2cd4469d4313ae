"""How many tokens a request may need, before any engine has counted them."""

from appliance.domain.calls import Call, Operation

OUTPUT_UNKNOWN = 256  # tokens reserved for an answer whose request sets no `max_tokens`
_BYTES_A_TOKEN = 4  # of a JSON body
_SMALL = 2**15  # bytes; what is smaller holds no picture worth looking for
_MEDIUM = 1000  # tokens of a picture or a sound, whatever its size
_DATA = (b"base64,", b'"data":"', b'"data": "')  # what stands before it in the API's dialects
_FREE = {Operation.COUNT_TOKENS, Operation.RESPONSE_TOKENS, Operation.TOKENIZE, Operation.DETOKENIZE}
_WRITING = {
    Operation.CHAT,
    Operation.COMPLETION,
    Operation.MESSAGES,
    Operation.RESPONSES,
    Operation.TRANSCRIPTION,
    Operation.TRANSLATION,
}


def input_estimate(call: Call) -> int:
    """Tokens of the input, by the size of the body; pictures and sounds count as `_MEDIUM` each."""
    if call.operation in _FREE:
        return 0  # counting costs nothing
    if call.content_type:
        return _MEDIUM
    body = call.body
    size = len(body)
    return size // _BYTES_A_TOKEN if size < _SMALL or call.plain else _without_media(body)


def _without_media(body: bytes) -> int:
    size, media = len(body), 0
    for mark in _DATA:
        at = body.find(mark)
        while at >= 0:
            begin = at + len(mark)
            end = body.find(b'"', begin)
            length = (len(body) if end < 0 else end) - begin
            if length > _MEDIUM * _BYTES_A_TOKEN:
                size -= length
                media += 1
            at = body.find(mark, begin + length)
    return max(size, 0) // _BYTES_A_TOKEN + media * _MEDIUM


def output_allowed(call: Call) -> int:
    """Tokens of the output: as many as the request allows; none where the answer is not text."""
    if call.most_output is not None:
        return call.most_output
    return OUTPUT_UNKNOWN if call.operation in _WRITING else 0
