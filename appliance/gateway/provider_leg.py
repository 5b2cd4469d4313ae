"""A request to a cloud provider and the reply, both put into the terms of the rest of the path.

Nothing of the caller's request goes there but its body: not our key, not its headers, but for the two that name the
version of the Messages API. The provider's key travels in the head of this one request and is kept nowhere; error texts
that come back are cleaned of it.
"""

from email.utils import parsedate_to_datetime

import trio

from appliance import __version__
from appliance.domain.calls import Call, Dialect, Operation
from appliance.domain.engines import ENGINES
from appliance.domain.http import Headers
from appliance.domain.providers import PROVIDERS
from appliance.domain.targets import Target
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.converted_reply import ConvertedReply
from appliance.gateway.engine_reply import EngineReply, ReadAlready
from appliance.translate import gemini
from appliance.translate.anthropic_reply import to_chat_error, to_completion
from appliance.translate.anthropic_request import messages_body
from appliance.translate.anthropic_stream import ChatFromMessages
from appliance.translate.gemini_stream import RepairedChunks
from appliance.translate.native_messages import native_body
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest, Upstreams
from appliance.wire.outgoing import outgoing_body

_LARGEST_REFUSAL = 2**20  # bytes of an error reply
_VERSION = "2023-06-01"  # of the Messages API; the next one refuses what chat clients send, such as a temperature
_OAUTH = "oauth-2025-04-20"


async def ask_provider(
    upstreams: Upstreams, deadlines: Deadlines, most: int, call: Call, target: Target, exchange: Exchange
) -> EngineReply:
    """Ask a provider.

    Args:
        upstreams: the connections to send through.
        deadlines: how long each part may take.
        most: connections at once.
        call: what is asked.
        target: the provider, its model and the key for it.
        exchange: the account.

    Raises:
        GatewayError: it cannot be asked this, or its reply must not reach a client.
        UpstreamError: no reply came.
    """
    if target.endpoint is None or target.key is None:  # pragma: no cover - the catalogue gives every one both
        raise AssertionError("a provider without an address or a key")
    path, body = _question(call, target, exchange)
    headers = [("content-type", "application/json"), ("user-agent", f"appliance/{__version__}")]
    request = OutRequest("POST", path, headers + _credentials(target, exchange), body)
    idle_close = ENGINES[target.engine].idle_close
    reply = await upstreams.send(
        target.endpoint, request, deadlines, max_connections=most, idle_close=idle_close, name=target.owner
    )
    exchange.gaps = reply.gaps
    try:
        if reply.status < 300:
            return _in_our_terms(reply, call, target, exchange)
        _refuse(reply.status, target)
        refusal = await reply.read(_LARGEST_REFUSAL)
    except BaseException:
        with trio.CancelScope(shield=True):  # bounded inside: closing only shuts the socket
            await reply.aclose()
        raise
    return ReadAlready(reply.status, reply.headers, _explained(reply.status, refusal, call, target, exchange))


def _question(call: Call, target: Target, exchange: Exchange) -> tuple[str, bytes]:
    api = PROVIDERS[target.owner]
    if api.dialect is Dialect.MESSAGES:
        if call.operation is Operation.CHAT:
            return api.path("/v1/messages"), messages_body(call.body, target.model)
        if exchange.in_chat and call.foreign is not None and call.operation is Operation.MESSAGES:
            return api.path("/v1/messages"), messages_body(
                call.foreign.chat_body(target.engine, target.model), target.model
            )
        counted = call.operation is Operation.COUNT_TOKENS
        body = native_body(call.body, target.model, counted=counted)
        if call.foreign is not None and not counted:
            body = call.foreign.as_amended(body)
        return api.path(call.operation.path), body
    if call.foreign is not None:
        body = call.foreign.chat_body(target.engine, target.model)
    else:
        body = outgoing_body(call, target.model)
    if target.owner == "gemini":
        embeds = call.operation is Operation.EMBEDDING
        body = (gemini.embedding_request if embeds else gemini.chat_request)(body, target.model)
    return api.path(call.operation.engine_path), body


def _credentials(target: Target, exchange: Exchange) -> Headers:
    key = target.key.reveal if target.key else ""
    if PROVIDERS[target.owner].dialect is not Dialect.MESSAGES:
        return [("authorization", f"Bearer {key}")]
    version = next((value for name, value in exchange.dialect_headers if name == "anthropic-version"), _VERSION)
    features = [value for name, value in exchange.dialect_headers if name == "anthropic-beta"]
    if key.startswith("sk-ant-oat"):  # a token of somebody's subscription
        credentials = [("authorization", f"Bearer {key}")]
        features.append(_OAUTH)
    else:
        credentials = [("x-api-key", key)]
    return [*credentials, ("anthropic-version", version), *(("anthropic-beta", value) for value in features)]


def _refuse(status: int, target: Target) -> None:
    if status < 400:
        raise GatewayError(
            "redirect_refused",
            f"The provider {target.owner!r} answered with a redirect ({status}), which is never followed: prompts and "
            "keys go only where the configuration says. The server's owner has to correct the URL.",
        )
    if status == 401 and not target.callers:
        raise GatewayError(
            "provider_key_refused",
            f"The provider {target.owner!r} does not accept the key that this server's owner has for it. Your own key "
            "and request are fine; the owner has to renew the provider's.",
        )


def _explained(status: int, body: bytes, call: Call, target: Target, exchange: Exchange) -> bytes:
    """An error as the client's dialect has it, without the key that the provider may have repeated."""
    if target.key is not None:
        body = body.replace(target.key.reveal.encode(), b"(your key)" if target.callers else b"(the key)")
    if call.operation.dialect is Dialect.MESSAGES:
        return body  # what makes Messages of the others' answers reads every provider's errors
    if target.owner == "anthropic":
        return to_chat_error(status, body, exchange.request_id)
    return gemini.error(status, body, exchange.request_id) if target.owner == "gemini" else body


def _in_our_terms(reply: EngineReply, call: Call, target: Target, exchange: Exchange) -> EngineReply:
    created = _date(reply.headers)
    in_chat = call.operation is Operation.CHAT or (exchange.in_chat and call.operation is Operation.MESSAGES)
    if target.owner == "anthropic" and in_chat:
        return ConvertedReply(reply, ChatFromMessages(created), lambda body: to_completion(body, created))
    if target.owner != "gemini":
        return reply
    if call.operation is Operation.EMBEDDING:
        base64 = gemini.wants_base64(call.body)
        return ConvertedReply(reply, RepairedChunks(created), lambda body: gemini.embeddings(body, base64=base64))
    return ConvertedReply(reply, RepairedChunks(created), lambda body: gemini.completion(body, created))


def _date(headers: Headers) -> int:
    """When the provider answered, as Unix time; 0 when it does not say."""
    value = next((value for name, value in headers if name == "date"), "")
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except (ValueError, OverflowError):
        return 0
