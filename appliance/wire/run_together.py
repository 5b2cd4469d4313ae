r"""All texts of a JSON body at once, without looking for them one by one.

Most requests and answers hold nothing that a guardrail looks for. To know that, nobody has to know which text stands
where: it is enough that every text is somewhere in what is looked at, in one piece, between two quotes. A body without
escapes is that itself. Of another one it is the body with each escape replaced by what it means; an escape can only be
inside a string, so that nothing else changes.

Of an answer that has nothing beside its texts but figures and names, the texts alone are run together.

Whatever is not certain is not answered here: then the texts have to be taken out and looked at.
"""

import re
from typing import Annotated, Any

import msgspec

from appliance.domain.odd_members import ARGUMENTS, INPUT, PROMPT, TEXT
from appliance.wire.chunk import TokenCount

_STRING = msgspec.json.Decoder(str)
# All of `prompt` and `input` that is not certain to be text: numbers or embeddings in its place cannot be looked at.
_MAY_BE_NUMBERS = re.compile(
    r'"(?:prompt|input)"\s*+(?!:\s*+(?:"|\{|\[\s*+["{]))|"prompt_(?:embeds|token_ids)"', re.ASCII
)
_A_TEXT = re.compile(r'"text"\s*+:\s*+"', re.ASCII)
# One that is the last part of its message; that two of them are one text to the model is no question then.
_LAST_TEXT = re.compile(
    rb'"text"\s*+:\s*+"(?:[^"\\]++|\\.)*+"\s*+(?:,\s*+"type"\s*+:\s*+"[a-z_]*+"\s*+)?\}\s*+\]',
)
_Empty = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class _Strict(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Only what is known to be no text, or to be a text; `texts` says what becomes of the rest."""


class _Function(_Strict):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(_Strict):
    index: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    function: _Function | None = None


class _Message(_Strict):
    role: msgspec.Raw = msgspec.Raw()
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: None = None
    annotations: _Empty = None
    audio: None = None


class _Choice(_Strict):
    index: msgspec.Raw = msgspec.Raw()
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = msgspec.Raw()
    matched_stop: msgspec.Raw = msgspec.Raw()
    native_finish_reason: msgspec.Raw = msgspec.Raw()
    logprobs: None = None
    token_ids: None = None


class Answer(_Strict, kw_only=True):
    """A whole chat or completion answer that has nothing beside its texts but figures and names."""

    id: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    created: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    choices: list[_Choice]
    system_fingerprint: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    usage: TokenCount | None = None
    timings: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()
    provider: msgspec.Raw = msgspec.Raw()
    prompt_logprobs: None = None
    prompt_token_ids: None = None
    kv_transfer_params: None = None


_ANSWER = msgspec.json.Decoder(Answer)


def run_together(body: bytes) -> str | None:
    """Every string of a sound JSON body, names of members included, each in one piece between two quotes.

    None where that is not certain.
    """
    try:
        text = body.decode()
        if "\\" not in text:
            return text
        # With all its quotes escaped the whole body is one JSON string. Pairs of backslashes come first, as a reader
        # takes them from the left, so that each that is left begins an escape.
        inside = text.replace("\\\\", "\\u005c").replace('\\"', "\\u0022").replace('"', '\\"')
        return _STRING.decode(f'"{inside}"')
    except ValueError:  # not UTF-8, half a character, or lines between the members
        return None


def is_odd(body: bytes, run: str) -> bool:
    """Whether some of a request may be no text, or a message may have texts in several parts, which its model reads as
    one. Only where it has an odd member (see `domain.odd_members`).

    Args:
        body: of the request.
        run: the same, as `run_together` gives it.
    """
    if (PROMPT in run or INPUT in run) and _MAY_BE_NUMBERS.search(run):
        return True
    if TEXT in run and len(_A_TEXT.findall(run)) != len(_LAST_TEXT.findall(body)):
        return True
    return ARGUMENTS in run and "\\" in run


def ordinary_answer(body: bytes) -> Answer | None:
    """A whole answer, read; None where there may be something that has to be taken out (see `texts`)."""
    try:
        return _ANSWER.decode(body)
    except (ValueError, RecursionError):
        return None


def answer_together(answer: Answer) -> str:
    """Every text of an ordinary answer, each in one piece between two quotes, or alone."""
    texts: list[str] = []
    for choice in answer.choices:
        if choice.text:
            texts.append(choice.text)
        message = choice.message
        if message is None:
            continue
        texts += filter(None, (message.reasoning, message.reasoning_content, message.content, message.refusal))
        if message.tool_calls:
            functions = [call.function for call in message.tool_calls if call.function is not None]
            texts += [text for function in functions for text in (function.name, function.arguments) if text]
    return '"'.join(texts)


def makes_calls(answer: Answer) -> bool:
    """Whether an ordinary answer calls tools, with arguments that are JSON in a text."""
    return any(choice.message is not None and choice.message.tool_calls for choice in answer.choices)
