"""A Messages request: read and checked once, then written as a chat request for one kind of engine."""

import re
from typing import Annotated, Any

import msgspec

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.translate.conversation import (
    THINKING,
    Block,
    ChatMessage,
    Turn,
    chat_messages,
    first_pdf,
    remote_images,
    unreadable,
)
from appliance.wire.members import read_json, refuse_crowd

DEFAULT_MAX_TOKENS = 4096
_MOST_TURNS = 10_000
_MOST_BLOCKS = 100_000
_REQUEST_ID = r"^[A-Za-z0-9._:-]{1,128}$"
_PLACE = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
# What each engine calls the thoughts of earlier turns; the others do not take any.
_THOUGHTS = {
    "vllm": "reasoning",
    "llama.cpp": "reasoning_content",
    "sglang": "reasoning_content",
    "ollama": "reasoning",
}
_EFFORT_OFF = {"vllm", "llama.cpp"}  # take reasoning_effort "none"
_FULL_SCALE = {"vllm", "llama.cpp"}  # know the efforts above "high"
_NO_TOP_K = {"openai", "openai-api", "gemini-api"}
_READS_PDF = {"openai-api"}
_EFFORT_BY_BUDGET = {"openai-api", "gemini-api"}  # think by effort only

Count = Annotated[int, msgspec.Meta(ge=0)]


class _Tool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class _ToolChoice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: Count | None = None


class _Format(msgspec.Struct):
    type: str = ""
    schema: dict[str, Any] | None = None


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class MessagesRequest(msgspec.Struct):
    """The members that are acted on; what else a client sends concerns Anthropic's own service and is left out."""

    messages: Annotated[list[Turn], msgspec.Meta(min_length=1)]
    model: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    max_tokens: Count | None = None
    system: str | list[Block] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    metadata: _Metadata | None = None
    request_id: Annotated[str, msgspec.Meta(pattern=_REQUEST_ID)] | None = None


class _Required(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw()


_REQUEST = msgspec.json.Decoder(MessagesRequest)
_REQUIRED = msgspec.json.Decoder(_Required)
_ABSENT = re.compile(rb"|null|\[\s*\]")


class Translated:
    """A request that can be written for any engine.

    Attributes:
        assumed: fields of it that the client did not ask for.
        problem: what no engine could be asked, but perhaps the provider whose API this is; None when nothing is.
    """

    def __init__(self, request: MessagesRequest) -> None:
        self._request = request
        self.assumed = frozenset({"max_tokens"} if request.max_tokens is None else ())
        self._messages: list[ChatMessage] = []
        self._tools: list[dict[str, Any]] = []
        self._pdf: str | None = None
        self.problem: GatewayError | None = None
        try:
            self._messages = chat_messages(request.system, request.messages)
            self._pdf = first_pdf(request.messages)
            self._tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools or ())]
            self._check_choice()
        except GatewayError as error:
            self.problem = error

    def chat_body(self, engine: str, model: str) -> bytes:
        """The body of the chat request, for an engine that knows the model by this name.

        Raises:
            GatewayError: the `problem` that there is.
        """
        if self.problem is not None:
            raise self.problem
        if self._pdf and engine not in _READS_PDF:
            raise unreadable(self._pdf)
        request = self._request
        body: dict[str, Any] = {"model": model, "messages": self._for_engine(engine)}
        most = "max_completion_tokens" if engine == "openai-api" else "max_tokens"  # reasoning models refuse that one
        body[most] = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
        asked = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": None if engine in _NO_TOP_K else request.top_k,
            "stop": request.stop_sequences or None,
            "user": request.metadata.user_id if request.metadata else None,
        }
        body |= {name: value for name, value in asked.items() if value is not None}
        body |= self._with_tools(engine) | self._with_thinking(engine)
        if engine == "vllm" and self._messages[-1]["role"] == "assistant" and "tool_calls" not in self._messages[-1]:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if request.stream:
            body |= _streamed(engine)
        return msgspec.json.encode(body)

    def as_amended(self, body: bytes) -> bytes:
        """As it is: the model has no overrides."""
        return body

    def watched(self) -> dict[str, bytes] | None:
        """What of it could harm an engine; see `wire.watched`."""
        request = self._request
        found = remote_images(request.messages)
        if request.stop_sequences:
            found["stop_sequences"] = msgspec.json.encode(request.stop_sequences)
        if self._tools:
            found["tools"] = msgspec.json.encode(self._tools)
        if request.output_config and request.output_config.format:
            found["output_config"] = msgspec.json.encode(request.output_config.format)
        return found or None

    def _for_engine(self, engine: str) -> list[ChatMessage]:
        thoughts = _THOUGHTS.get(engine)
        messages = []
        for message in self._messages:
            if THINKING not in message:
                messages.append(message)
                continue
            kept = {name: value for name, value in message.items() if name != THINKING}
            messages.append(kept | {thoughts: message[THINKING]} if thoughts else kept)
        return messages

    def _check_choice(self) -> None:
        choice = self._request.tool_choice
        if choice is None:
            return
        if choice.type not in {"auto", "any", "tool", "none"}:
            raise _wrong("tool_choice.type", "one of auto, any, tool, none")
        if choice.type == "tool" and not any(tool["function"]["name"] == choice.name for tool in self._tools):
            raise _wrong("tool_choice.name", "the name of one of the tools")

    def _with_tools(self, engine: str) -> dict[str, Any]:
        if not self._tools:
            return {}  # a choice without tools would be refused
        members: dict[str, Any] = {"tools": self._tools}
        choice = self._request.tool_choice
        if choice is None:
            return members
        if choice.type == "tool" and engine == "llama.cpp":  # knows no choice by name: it gets only that one
            members["tools"] = [tool for tool in self._tools if tool["function"]["name"] == choice.name]
            members["tool_choice"] = "required"
        elif choice.type == "tool":
            members["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        else:
            members["tool_choice"] = {"any": "required"}.get(choice.type, choice.type)
        if choice.disable_parallel_tool_use is not None:
            members["parallel_tool_calls"] = not choice.disable_parallel_tool_use
        return members

    def _with_thinking(self, engine: str) -> dict[str, Any]:
        members: dict[str, Any] = {}
        config, thinking = self._request.output_config, self._request.thinking
        if config and config.effort:
            scale = {} if engine in _FULL_SCALE else {"xhigh": "high", "max": "high"}
            members["reasoning_effort"] = scale.get(config.effort, config.effort)
        if config and config.format and config.format.type == "json_schema":
            schema = {"name": "output", "schema": config.format.schema}
            members["response_format"] = {"type": "json_schema", "json_schema": schema}
        if thinking and thinking.type == "disabled" and engine in _EFFORT_OFF:
            members["reasoning_effort"] = "none"
        elif thinking and thinking.type == "enabled" and thinking.budget_tokens and engine == "llama.cpp":
            # vLLM has such a budget too, but refuses it unless it was started for it: there thoughts have no limit
            # of their own, as the answer as a whole has one.
            members["thinking_budget_tokens"] = thinking.budget_tokens
        elif thinking and thinking.type == "enabled" and engine in _EFFORT_BY_BUDGET:
            members.setdefault("reasoning_effort", _effort(thinking.budget_tokens or 0))
        return members


def _effort(budget: int) -> str:
    """The effort that comes near to a budget of tokens for thinking."""
    if budget < 4_000:
        return "low"
    return "medium" if budget < 16_000 else "high"


def parse_messages(body: bytes) -> Call:
    """Read a request for a Message.

    Raises:
        GatewayError: `missing_required_parameter` or `invalid_payload`, with `param` naming the field.
    """
    request = read_messages(body)
    call_body = Translated(request)
    return Call(
        Operation.MESSAGES,
        request.model or "",
        body,
        bool(request.stream),
        request_id=request.request_id,
        most_output=DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        foreign=call_body,
        watched=call_body.watched(),
    )


def parse_count(body: bytes) -> Call:
    """Read a request for the number of tokens that a Messages request has.

    Raises:
        GatewayError: as `parse_messages`.
    """
    request = msgspec.structs.replace(read_messages(body), stream=False)
    return Call(
        Operation.COUNT_TOKENS,
        request.model or "",
        body,
        request_id=request.request_id,
        foreign=Translated(request),
    )


def read_messages(body: bytes) -> MessagesRequest:
    """The members that are acted on; raises as `parse_messages`."""
    refuse_crowd(body, b'"role"', _MOST_TURNS, "turns")
    refuse_crowd(body, b'"type"', _MOST_BLOCKS, "blocks")
    if _ABSENT.fullmatch(read_json(body, _REQUIRED).messages):
        message = "'messages' is required and must not be empty."
        raise GatewayError("missing_required_parameter", message, param="messages")
    try:
        return _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        raise _misfit(error) from error
    except msgspec.DecodeError as error:
        raise GatewayError("invalid_payload", f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise GatewayError("invalid_payload", "The body is nested too deeply.") from error


def _misfit(error: msgspec.ValidationError) -> GatewayError:
    found = _PLACE.match(str(error))
    words, place = (found[1], found[2]) if found else (str(error), None)
    message = f"{place!r} is not as it must be: {words}." if place else f"{words}."
    return GatewayError("invalid_payload", message, param=place or None)


def _tool(tool: _Tool, where: str) -> dict[str, Any]:
    if tool.type not in {None, "custom"}:
        message = f"Tools of type {tool.type!r} run at Anthropic only. Remove it, or offer it as a tool of your own."
        raise GatewayError("invalid_payload", message, param=f"{where}.type")
    schema = tool.input_schema or {}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    function: dict[str, Any] = {"name": tool.name, "parameters": schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _streamed(engine: str) -> dict[str, Any]:
    """What makes an engine stream, and say early how long the prompt is."""
    options: dict[str, Any] = {"include_usage": True}
    if engine == "vllm":
        options["continuous_usage_stats"] = True
    members: dict[str, Any] = {"stream": True, "stream_options": options}
    if engine == "llama.cpp":
        members["timings_per_token"] = True
    return members


def _wrong(param: str, expected: str) -> GatewayError:
    return GatewayError("invalid_payload", f"{param!r} must be {expected}.", param=param)
