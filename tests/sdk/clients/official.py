"""OpenAI's and Anthropic's Python SDKs, of any version of the last year."""

import asyncio
import json
from typing import Any

import anthropic
import openai
from report import KEY, URL, check, main, raises

client: Any = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=60)
claude: Any = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=60)
ASK = [{"role": "user", "content": "The capital of France is"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]
FLAT_TOOLS = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]
CLAUDE_TOOLS = [
    {"name": "weather", "input_schema": SCHEMA},
    {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
]


@check
def openai_chat() -> None:
    answer = client.chat.completions.create(model="gemma", messages=ASK, max_tokens=8)
    assert answer.choices[0].message.content
    assert 0 < answer.usage.completion_tokens <= 8


@check
def openai_stream() -> None:
    chunks = list(
        client.chat.completions.create(
            model="gemma", messages=ASK, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@check
def openai_stream_without_usage() -> None:
    chunks = list(client.chat.completions.create(model="gemma", messages=ASK, max_tokens=8, stream=True))
    assert all(chunk.choices and not chunk.usage for chunk in chunks)


@check
def openai_stream_helper() -> None:
    with client.chat.completions.stream(model="tools", messages=ASK, tools=TOOLS) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert [call.function.name for call in message.tool_calls] == ["weather", "clock"]
    assert isinstance(json.loads(message.tool_calls[0].function.arguments)["city"], str)


@check
def openai_responses() -> None:
    whole = client.responses.create(model="gemma", input="The capital of France is", max_output_tokens=8)
    assert whole.output_text
    assert whole.usage.output_tokens > 0
    called = client.responses.create(model="tools", input="Weather?", tools=FLAT_TOOLS)
    assert [item.name for item in called.output if item.type == "function_call"] == ["weather", "clock"]


@check
def openai_responses_stream() -> None:
    with client.responses.stream(model="gemma", input="The capital of France is", max_output_tokens=8) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.created", "response.output_text.delta", "response.completed"} <= kinds
    assert final.output_text
    with client.responses.stream(model="tools", input="Weather?", tools=FLAT_TOOLS) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert [item.name for item in final.output if item.type == "function_call"] == ["weather", "clock"]


@check
def openai_tools() -> None:
    choice = client.chat.completions.create(model="tools", messages=ASK, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in choice.message.tool_calls]
    answer = client.chat.completions.create(model="tools", messages=[*ASK, choice.message, *results], tools=TOOLS)
    assert answer.choices[0].message.content


@check
def openai_reasoning() -> None:
    for model, member in (("thinks", "reasoning_content"), ("thinks-vllm", "reasoning")):
        message = client.chat.completions.create(model=model, messages=ASK).choices[0].message
        assert getattr(message, member)


@check
def openai_completions() -> None:
    assert client.completions.create(model="gemma", prompt="One, two,", max_tokens=4).choices[0].text


@check
def openai_embeddings() -> None:
    answer = client.embeddings.create(model="embed", input=["First text", "Second text"])
    assert [item.index for item in answer.data] == [0, 1]
    assert all(isinstance(value, float) for value in answer.data[0].embedding)
    floats = client.embeddings.create(model="embed", input="First text", encoding_format="float")
    assert abs(floats.data[0].embedding[0] - answer.data[0].embedding[0]) < 1e-3


@check
def openai_models() -> None:
    assert {"gemma", "embed", "tools"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("gemma").id == "gemma"


@check
def openai_errors() -> None:
    def ask(**options: Any) -> Any:
        return client.chat.completions.create(**{"model": "gemma", "messages": ASK, **options})

    assert raises(openai.NotFoundError, lambda: ask(model="nope")).code == "model_not_found"
    assert raises(openai.UnprocessableEntityError, lambda: ask(temperature="x")).param == "temperature"
    assert raises(openai.BadRequestError, lambda: ask(messages=[])).code == "missing_required_parameter"
    raises(openai.InternalServerError, lambda: ask(model="ill"), says="the script says so")
    wrong = raises(openai.AuthenticationError, client.with_options(api_key="sk-wrong").models.list)
    assert wrong.request_id.startswith("req_")
    kind = raises(openai.UnprocessableEntityError, lambda: client.embeddings.create(model="gemma", input="x"))
    assert kind.code == "model_category_mismatch"


@check
def openai_error_in_a_stream() -> None:
    stream = client.chat.completions.create(model="cut", messages=ASK, stream=True)
    raises(openai.APIError, lambda: list(stream), says="broke the connection")


@check
def openai_asynchronous() -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{URL}/api/client/v1", api_key=KEY, max_retries=0) as sdk:
            stream: Any = await sdk.chat.completions.create(
                model="gemma",
                messages=ASK,
                max_tokens=8,
                stream=True,  # type: ignore[arg-type]
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask())


@check
def anthropic_messages() -> None:
    message = claude.messages.create(model="gemma", messages=ASK, max_tokens=8)
    assert message.content[0].text
    assert 0 < message.usage.output_tokens <= 8


@check
def anthropic_stream() -> None:
    with claude.messages.stream(model="gemma", messages=ASK, max_tokens=8, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        assert text == stream.get_final_message().content[0].text


@check
def anthropic_count_tokens() -> None:
    assert claude.messages.count_tokens(model="gemma", messages=ASK).input_tokens > 4


@check
def anthropic_tools() -> None:
    asked = {"model": "tools", "max_tokens": 512, "tools": CLAUDE_TOOLS}
    with claude.messages.stream(messages=ASK, **asked) as stream:
        streamed = stream.get_final_message()
    message = claude.messages.create(messages=ASK, **asked)
    for calls in (message.content, streamed.content):
        assert [call.name for call in calls] == ["weather", "clock"]
        assert isinstance(calls[0].input["city"], str)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in message.content]
    turns = [*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    assert claude.messages.create(messages=turns, **asked).stop_reason == "end_turn"


@check
def anthropic_thinking() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    for model in ("thinks", "thinks-vllm"):
        with claude.messages.stream(model=model, messages=ASK, max_tokens=2048, thinking=thinking) as stream:
            message = stream.get_final_message()
        assert [block.type for block in message.content] == ["thinking", "text"]


@check
def anthropic_models() -> None:
    assert "gemma" in {model.id for model in claude.models.list()}
    assert claude.models.retrieve("gemma").id == "gemma"


@check
def anthropic_errors() -> None:
    def ask(**options: Any) -> Any:
        return claude.messages.create(**{"model": "gemma", "messages": ASK, "max_tokens": 8, **options})

    missing = raises(anthropic.NotFoundError, lambda: ask(model="nope"))
    assert missing.body["error"]["type"] == "not_found_error"
    assert missing.request_id.startswith("req_")
    raises(anthropic.BadRequestError, lambda: ask(messages=[]))
    raises(anthropic.UnprocessableEntityError, lambda: ask(stop_sequences="x"))
    raises(anthropic.InternalServerError, lambda: ask(model="ill"), says="the script says so")
    raises(
        anthropic.AuthenticationError,
        lambda: claude.with_options(api_key="sk-wrong").messages.create(model="gemma", messages=ASK, max_tokens=8),
    )


@check
def anthropic_error_in_a_stream() -> None:
    def listen() -> None:
        for _ in claude.messages.create(model="cut", messages=ASK, max_tokens=64, stream=True):
            pass

    raises(anthropic.APIStatusError, listen, says="broke the connection")


@check
def anthropic_bearer_token() -> None:
    token: Any = anthropic.Anthropic(base_url=f"{URL}/api/client", auth_token=KEY, api_key=None, max_retries=0)
    assert token.messages.create(model="gemma", messages=ASK, max_tokens=4).content


main()
