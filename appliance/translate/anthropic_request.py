"""A chat request as a Messages request: what the provider Anthropic is asked when the client speaks chat.

The sources are both providers' API references as of November 2026. What Messages has no word for (seed, penalties,
logprobs) is left out; what would change the answer's meaning (several choices, audio) is refused.
"""

import re
from typing import Annotated, Any

import msgspec

from appliance.errors import GatewayError

DEFAULT_MAX_TOKENS = 4096
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.+)", re.DOTALL)
_EFFORTS = {"minimal": "low"}  # the others have the same names
_OBJECT = msgspec.json.Decoder(dict[str, Any])
Blocks = list[dict[str, Any]]


class _Url(msgspec.Struct):
    url: str = ""


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | str | None = None
    file: _File | None = None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Call(msgspec.Struct):
    id: str = ""
    function: _Function | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Choice(msgspec.Struct):
    function: _Function | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    json_schema: _Schema | None = None


class _Chat(msgspec.Struct):
    """The members that are acted on."""

    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    user: str | None = None


_CHAT = msgspec.json.Decoder(_Chat)
_PLACE = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)


def messages_body(body: bytes, model: str) -> bytes:
    """The Messages request for a chat request, whose roles have been checked.

    Args:
        body: what the client sent.
        model: the provider's name for the model.

    Raises:
        GatewayError: `invalid_payload`: something in it cannot be put to Anthropic.
    """
    try:
        chat = _CHAT.decode(body)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        place = found[2] if found else None
        raise GatewayError("invalid_payload", f"Not as it must be for Anthropic: {error}.", param=place) from error
    if (chat.n or 1) > 1:
        raise _wrong("n", "1: Anthropic gives one answer to a request")
    system, turns = _conversation(chat.messages)
    members: dict[str, Any] = {"model": model, "messages": turns, "max_tokens": _most_tokens(chat)}
    if system:
        members["system"] = system
    if chat.stream:
        members["stream"] = True
    members |= _tools(chat) | _thinking(chat)
    members |= _sampling(chat, thinks=members.get("thinking", {}).get("type") == "adaptive")
    return msgspec.json.encode(members)


def _most_tokens(chat: _Chat) -> int:
    given = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    return DEFAULT_MAX_TOKENS if given is None else given


def _sampling(chat: _Chat, *, thinks: bool) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if not thinks:  # with thinking Anthropic takes none of these
        if chat.temperature is not None:
            members["temperature"] = min(chat.temperature, 1.0)
        elif chat.top_p is not None:  # newer models refuse both at once
            members["top_p"] = chat.top_p
        if chat.top_k is not None:
            members["top_k"] = chat.top_k
    stops = [chat.stop] if isinstance(chat.stop, str) else chat.stop or []
    if stops := [stop for stop in stops if stop.strip()]:
        members["stop_sequences"] = stops
    if chat.user:
        members["metadata"] = {"user_id": chat.user}
    return members


def _thinking(chat: _Chat) -> dict[str, Any]:
    config: dict[str, Any] = {}
    members: dict[str, Any] = {}
    if chat.reasoning_effort == "none":
        members["thinking"] = {"type": "disabled"}
    elif chat.reasoning_effort:
        config["effort"] = _EFFORTS.get(chat.reasoning_effort, chat.reasoning_effort)
        # A chat client cannot give signed thoughts back, and without them the next step of a tool's use is refused.
        if chat.messages[-1].role != "tool":
            members["thinking"] = {"type": "adaptive"}
    form = chat.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is not None:
        config["format"] = {"type": "json_schema", "schema": form.json_schema.schema or {}}
    if config:
        members["output_config"] = config
    return members


def _tools(chat: _Chat) -> dict[str, Any]:
    if not chat.tools:
        return {}
    members: dict[str, Any] = {"tools": [_tool(tool, f"tools[{at}]") for at, tool in enumerate(chat.tools)]}
    choice = _choice(chat.tool_choice)
    if chat.parallel_tool_calls is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice:
        members["tool_choice"] = choice
    return members


def _tool(tool: _Tool, where: str) -> dict[str, Any]:
    function = tool.function
    if tool.type != "function" or function is None or not function.name:
        raise _wrong(where, "a tool of type function, with a name")
    schema = function.parameters or {}
    found: dict[str, Any] = {
        "name": function.name,
        "input_schema": schema if "type" in schema else {"type": "object"} | schema,
    }
    if function.description:
        found["description"] = function.description
    if function.strict is not None:
        found["strict"] = function.strict
    return found


def _choice(choice: str | _Choice | None) -> dict[str, Any]:
    if isinstance(choice, _Choice):
        if choice.function is None or not choice.function.name:
            raise _wrong("tool_choice.function.name", "the name of one of the tools")
        return {"type": "tool", "name": choice.function.name}
    if choice is None:
        return {}
    if choice not in {"none", "auto", "required"}:
        raise _wrong("tool_choice", "none, auto, required, or an object that names a function")
    return {"type": {"required": "any"}.get(choice, choice)}


def _conversation(messages: list[_Message]) -> tuple[str, Blocks]:
    """The system prompt, and the turns: of Messages' two roles, each speaks once before the other does."""
    heads: list[str] = []
    turns: Blocks = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        match message.role:
            case "system" | "developer" if not turns:
                heads.append(_text(message, where))
            case "system" | "developer":  # in the middle it is the user's: older models refuse it there
                _add(turns, "user", _texts(_text(message, where)))
            case "user":
                _add(turns, "user", _user(message, where))
            case "assistant":
                _add(turns, "assistant", _assistant(message, where))
            case "tool":
                _add(turns, "user", [_result(message, where)])
            case _:
                raise _wrong(f"{where}.role", "system, developer, user, assistant or tool; functions are called tools")
    if not turns:
        raise _wrong("messages", "a conversation with at least one message of the user")
    if turns[-1]["role"] == "assistant":
        _trim(turns[-1]["content"])
    return "\n\n".join(text for text in heads if text), turns


def _add(turns: Blocks, role: str, blocks: Blocks) -> None:
    if not blocks:
        return  # an empty turn would be refused
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _trim(blocks: Blocks) -> None:
    """White space at the end of what the model shall go on with would be refused."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip() or "…"


def _texts(text: str) -> Blocks:
    return [{"type": "text", "text": text}] if text.strip() else []  # an empty block would be refused


def _text(message: _Message, where: str) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    texts = []
    for at, part in enumerate(message.content):
        if part.type != "text":
            raise _wrong(f"{where}.content[{at}].type", f"text, in a message of the role {message.role}")
        texts.append(part.text or "")
    return "\n\n".join(texts)


def _user(message: _Message, where: str) -> Blocks:
    if not isinstance(message.content, list):
        return _texts(message.content or "")
    blocks: Blocks = []
    for at, part in enumerate(message.content):
        blocks += _part(part, f"{where}.content[{at}]")
    return blocks


def _part(part: _Part, where: str) -> Blocks:
    match part.type:
        case "text":
            return _texts(part.text or "")
        case "image_url":
            url = part.image_url.url if isinstance(part.image_url, _Url) else part.image_url or ""
            return [{"type": "image", "source": _image(url, f"{where}.image_url.url")}]
        case "file":
            return [_document(part.file or _File(), f"{where}.file")]
        case _:
            raise _wrong(f"{where}.type", "text, image_url or file: Anthropic reads nothing else")


def _image(url: str, where: str) -> dict[str, Any]:
    if found := _DATA_URL.fullmatch(url):
        return {"type": "base64", "media_type": found[1], "data": found[2]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise _wrong(where, "an http or https URL, or a base64 data: URL")


def _document(file: _File, where: str) -> dict[str, Any]:
    found = _DATA_URL.fullmatch(file.file_data or "")
    if found is None or found[1] != "application/pdf":
        raise _wrong(f"{where}.file_data", "a PDF as a base64 data: URL")
    block: dict[str, Any] = {
        "type": "document",
        "source": {"type": "base64", "media_type": found[1], "data": found[2]},
    }
    return block | ({"title": file.filename} if file.filename else {})


def _assistant(message: _Message, where: str) -> Blocks:
    if isinstance(message.content, list):
        blocks = _texts("".join(part.text or part.refusal or "" for part in message.content))
    else:
        blocks = _texts(message.content or "")
    for at, call in enumerate(message.tool_calls or ()):
        function = call.function or _Function()
        here = f"{where}.tool_calls[{at}]"
        if not call.id or not function.name:
            raise _wrong(here, "a call with an id and the name of a function")
        try:
            arguments = _OBJECT.decode(function.arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise _wrong(f"{here}.function.arguments", "a JSON object, as text") from error
        blocks.append({"type": "tool_use", "id": call.id, "name": function.name, "input": arguments})
    return blocks


def _result(message: _Message, where: str) -> dict[str, Any]:
    if not message.tool_call_id:
        raise _wrong(f"{where}.tool_call_id", "the id of the call that this is the result of")
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": _text(message, where)}


def _wrong(param: str, expected: str) -> GatewayError:
    return GatewayError("invalid_payload", f"{param!r} must be {expected}.", param=param)
