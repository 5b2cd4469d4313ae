"""The turns of a Messages conversation as chat messages.

Chat engines want one string or a list of parts where Messages has blocks, results of tools as messages of their own,
and, many of their templates, user and assistant in turns: neighbours of one role become one message.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from appliance.errors import GatewayError

ChatMessage = dict[str, Any]
THINKING = "thinking"  # member of a chat message that each engine calls by a name of its own
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_PER_REQUEST = "x-anthropic-billing-header"  # Claude Code's, different each time: no prefix would be found in a cache


class Source(msgspec.Struct):
    """Where an image or a document comes from."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: "str | list[Block] | None" = None


class Block(msgspec.Struct):
    """A content block of any type; which members it must have depends on it."""

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None
    thinking: str | None = None


class Turn(msgspec.Struct):
    """One message of the request."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


def chat_messages(system: str | list[Block] | None, turns: list[Turn]) -> list[ChatMessage]:
    """The conversation in chat terms.

    Raises:
        GatewayError: `invalid_payload` for a block that cannot be put to an engine.
    """
    messages: list[ChatMessage] = []
    if text := _system(system):
        messages.append({"role": "system", "content": text})
    for number, turn in enumerate(turns):
        where = f"messages[{number}]"
        if turn.role == "assistant":
            _add_assistant(messages, turn, where)
        else:  # a system turn in the middle becomes the user's: most templates refuse it
            _add_user(messages, turn, where)
    return messages


def remote_images(turns: list[Turn]) -> dict[str, bytes]:
    """Images that the conversation names and does not hold: their addresses as JSON, by their place in it."""
    return {
        f"{where}.source.url": msgspec.json.encode(block.source.url)
        for number, turn in enumerate(turns)
        for where, block in _blocks(turn.content, f"messages[{number}]", "image")
        if isinstance(block.source, Source) and block.source.type == "url"
        if not block.source.url.startswith("data:")
    }


def first_pdf(turns: list[Turn]) -> str | None:
    """The place of a PDF, which few can read."""
    found = (
        f"{where}.source"
        for number, turn in enumerate(turns)
        for where, block in _blocks(turn.content, f"messages[{number}]", "document")
        if isinstance(block.source, Source) and block.source.type == "base64"
    )
    return next(found, None)


def unreadable(where: str) -> GatewayError:
    """The refusal of a document that is no text."""
    return _wrong(where, "plain text or text blocks: this model cannot read other documents; send the text of it")


def _blocks(content: str | list[Block], where: str, kind: str) -> Iterator[tuple[str, Block]]:
    """Every block of a type, those inside the results of tools included, with its place."""
    for number, block in enumerate(content if isinstance(content, list) else ()):
        if block.type == kind:
            yield f"{where}.content[{number}]", block
        elif isinstance(block.content, list):
            yield from _blocks(block.content, f"{where}.content[{number}]", kind)


def _system(system: str | list[Block] | None) -> str:
    if isinstance(system, str):
        return system
    texts = (_text(block, f"system[{number}]") for number, block in enumerate(system or ()))
    return "\n\n".join(text for text in texts if text and not text.startswith(_PER_REQUEST))


def _add_user(messages: list[ChatMessage], turn: Turn, where: str) -> None:
    if isinstance(turn.content, str):
        _merge_user(messages, turn.content)
        return
    parts: list[ChatMessage] = []
    shown: list[ChatMessage] = []  # images of results, which a tool message cannot hold
    for number, block in enumerate(turn.content):
        here = f"{where}.content[{number}]"
        if block.type == "tool_result":
            text, images = _result(block, here)
            messages.append({"role": "tool", "tool_call_id": _needed(block.tool_use_id, here, "tool_use_id"), **text})
            shown += images
        else:
            parts += _parts(block, here)
    if shown or parts:
        _merge_user(messages, _short(shown + parts))
    elif not any(block.type == "tool_result" for block in turn.content):
        _merge_user(messages, "")


def _merge_user(messages: list[ChatMessage], content: str | list[ChatMessage]) -> None:
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        messages.append({"role": "user", "content": content})
        return
    before = last["content"]
    if isinstance(before, str) and isinstance(content, str):
        last["content"] = f"{before}\n\n{content}" if before and content else before or content
    else:
        last["content"] = _as_parts(before) + _as_parts(content)


def _as_parts(content: str | list[ChatMessage]) -> list[ChatMessage]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _short(parts: list[ChatMessage]) -> str | list[ChatMessage]:
    """A lone text needs no list, which some templates cannot read."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _add_assistant(messages: list[ChatMessage], turn: Turn, where: str) -> None:
    message = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
    if message is None:
        message = {"role": "assistant", "content": ""}
        messages.append(message)
    blocks = [Block("text", text=turn.content)] if isinstance(turn.content, str) else turn.content
    texts = [message["content"]] if message["content"] else []
    for number, block in enumerate(blocks):
        here = f"{where}.content[{number}]"
        match block.type:
            case "text":
                texts.append(_text(block, here))
            case "tool_use":
                message.setdefault("tool_calls", []).append(_tool_call(block, here))
            case "thinking":
                message[THINKING] = message.get(THINKING, "") + (block.thinking or "")
            case "redacted_thinking":
                pass  # nobody but its maker can read it
            case _:
                raise _unusable(block, here, "an assistant's message")
    text = "".join(texts)
    message["content"] = text or (None if "tool_calls" in message else "")


def _tool_call(block: Block, where: str) -> ChatMessage:
    given = bytes(block.input)
    if given in {b"", b"null"}:
        given = b"{}"
    try:
        _OBJECT.decode(given)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"{where}.input", "an object") from error
    function = {"name": _needed(block.name, where, "name"), "arguments": given.decode()}
    return {"id": _needed(block.id, where, "id"), "type": "function", "function": function}


def _result(block: Block, where: str) -> tuple[ChatMessage, list[ChatMessage]]:
    """The content of a tool's result, and the images that came with it."""
    if isinstance(block.content, list):
        parts = [
            part
            for number, item in enumerate(block.content)
            for part in _parts(item, f"{where}.content[{number}]", inside="a tool's result")
        ]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        images = [part for part in parts if part["type"] != "text"]
    else:
        text, images = block.content or "", []
    return {"content": f"Error: {text}" if block.is_error else text}, images


def _parts(block: Block, where: str, inside: str = "a user's message") -> Iterator[ChatMessage]:
    match block.type:
        case "text":
            text = _text(block, where)
        case "image":
            yield {"type": "image_url", "image_url": {"url": _image(block.source, where)}}
            return
        case "document" if pdf := _pdf(block):
            yield {"type": "file", "file": pdf}
            return
        case "document":
            text = _document(block, where)
        case "search_result":
            source = block.source if isinstance(block.source, str) else ""
            text = _lines(block.title, source, _plain(block.content, f"{where}.content"))
        case "tool_reference":
            text = block.name or ""
        case _:
            raise _unusable(block, where, inside)
    if text:
        yield {"type": "text", "text": text}


def _image(source: Source | str | None, where: str) -> str:
    if isinstance(source, Source):
        if source.type == "base64" and source.data and source.media_type.startswith("image/"):
            return f"data:{source.media_type};base64,{source.data}"
        if source.type == "url" and source.url.startswith(("https://", "http://", "data:image/")):
            return source.url
    raise _wrong(f"{where}.source", "base64 data with an image's media_type, or an http or https URL")


def _document(block: Block, where: str) -> str:
    source = block.source
    if isinstance(source, Source):
        if source.type == "text":
            return _lines(block.title, block.context, source.data)
        if source.type == "content":
            return _lines(block.title, block.context, _plain(source.content, f"{where}.source.content"))
    raise unreadable(f"{where}.source")


def _pdf(block: Block) -> dict[str, str] | None:
    source = block.source
    if not isinstance(source, Source) or (source.type, source.media_type) != ("base64", "application/pdf"):
        return None
    return {"filename": block.title or "document.pdf", "file_data": f"data:application/pdf;base64,{source.data}"}


def _plain(content: str | list[Block] | None, where: str) -> str:
    if not isinstance(content, list):
        return content or ""
    return "\n".join(_text(block, f"{where}[{number}]") for number, block in enumerate(content))


def _lines(*texts: str | None) -> str:
    return "\n".join(text for text in texts if text)


def _text(block: Block, where: str) -> str:
    if block.type != "text" or block.text is None:
        raise _wrong(where, "a text block with a text")
    return block.text


def _needed(value: str | None, where: str, name: str) -> str:
    if not value:
        raise _wrong(f"{where}.{name}", "a string that is not empty")
    return value


def _wrong(param: str, expected: str) -> GatewayError:
    return GatewayError("invalid_payload", f"{param!r} must be {expected}.", param=param)


def _unusable(block: Block, where: str, inside: str) -> GatewayError:
    message = f"A block of type {block.type[:100]!r} cannot stand in {inside} here. Leave it out."
    return GatewayError("invalid_payload", message, param=f"{where}.type")
