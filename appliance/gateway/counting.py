"""How many tokens a Messages request has: the engine's own count where it has one, else its tokenizer's."""

import msgspec

from appliance.domain.calls import Call
from appliance.domain.targets import Target
from appliance.errors import UpstreamError
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import Attempts, in_gateway_terms, read_all
from appliance.gateway.engine_reply import EngineReply
from appliance.routing.pick import unsupported
from appliance.translate.messages_error import engine_error

_LARGEST = 64 * 2**20  # bytes; a tokenizer's answer lists every token
_ABSENT = {404, 405, 501}


class _Counted(msgspec.Struct):
    """Any of the answers to the questions below."""

    input_tokens: int | None = None
    count: int | None = None
    tokens: list[msgspec.Raw] | None = None
    prompt: str | None = None


_COUNTED = msgspec.json.Decoder(_Counted)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OF_PROMPT = ("model", "messages", "tools", "continue_final_message", "add_generation_prompt")  # vLLM's /tokenize


async def count_tokens(
    attempts: Attempts, call: Call, target: Target, own: EngineReply, exchange: Exchange
) -> tuple[int, bytes]:
    """Status and body of the answer.

    Args:
        attempts: asks the engine again, where its own count is missing.
        call: the request.
        target: what was asked.
        own: what it said when asked for a Messages count.
        exchange: holds the replica that answers.

    Raises:
        GatewayError: `unsupported` where the engine has neither; or nothing came back.
    """
    status, body = own.status, await read_all(own, _LARGEST, exchange)
    counted = _read(body).input_tokens if status == 200 else None
    if counted is None:
        try:
            counted = await _tokenized(attempts, call, target, exchange)
        except UpstreamError as error:
            raise in_gateway_terms(error, target.name) from error
    if counted is not None:
        return 200, msgspec.json.encode({"input_tokens": counted, "request_id": exchange.request_id})
    if status in _ABSENT or status == 200:
        raise unsupported(call.model, call.operation, target.engine)
    return status, engine_error(status, body, exchange.request_id)


async def _tokenized(attempts: Attempts, call: Call, target: Target, exchange: Exchange) -> int | None:
    """The tokens of the prompt that the chat request would become; None where the engine cannot tell."""
    endpoint = exchange.lease.endpoint if exchange.lease else target.endpoint
    if call.foreign is None or endpoint is None or target.kind == "provider":
        return None
    chat = call.foreign.chat_body(target.engine, target.model or call.model)

    async def ask(path: str, body: bytes) -> _Counted:
        reply = await attempts.post(target, endpoint, path, body, exchange)
        answer = await read_all(reply, _LARGEST, exchange)
        return _read(answer) if reply.status == 200 else _Counted()

    if target.engine == "vllm":
        members = _MEMBERS.decode(chat)
        return (await ask("/tokenize", _json({name: members[name] for name in _OF_PROMPT if name in members}))).count
    if target.engine == "llama.cpp":
        counted = (await ask("/v1/chat/completions/input_tokens", chat)).input_tokens
        if counted is not None:
            return counted
        prompt = (await ask("/apply-template", chat)).prompt
        if prompt is not None:
            question = {"content": prompt, "add_special": True, "parse_special": True}
            tokens = (await ask("/tokenize", _json(question))).tokens
            return None if tokens is None else len(tokens)
    return None


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _read(body: bytes) -> _Counted:
    try:
        return _COUNTED.decode(body)
    except (ValueError, RecursionError):
        return _Counted()
