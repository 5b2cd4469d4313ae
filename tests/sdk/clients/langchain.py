"""LangChain's classes for OpenAI and Anthropic."""

from typing import Any

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from report import KEY, URL, check, main, raises

ASK = "The capital of France is"


def gpt(model: str, **options: Any) -> Any:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, **options)


def claude(model: str, **options: Any) -> Any:
    options = {"max_tokens": 8, **options}
    return ChatAnthropic(model=model, base_url=URL, api_key=KEY, max_retries=0, **options)


@tool
def weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"fine in {city} for {days} days"


@check
def openai_chat() -> None:
    answer = gpt("gemma", max_tokens=8).invoke(ASK)
    assert answer.content
    assert answer.usage_metadata["output_tokens"] > 0


@check
def openai_stream() -> None:
    parts = list(gpt("gemma", max_tokens=8, stream_usage=True).stream(ASK))
    assert "".join(part.content for part in parts)
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total.usage_metadata["output_tokens"] > 0


@check
def openai_responses() -> None:
    answer = gpt("gemma", max_tokens=16, use_responses_api=True).invoke(ASK)
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0


@check
def openai_responses_stream() -> None:
    parts = list(gpt("gemma", max_tokens=16, use_responses_api=True).stream(ASK))
    assert "".join(str(part.text) for part in parts)
    assert sum(part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata) > 0


@check
def openai_tools() -> None:
    bound = gpt("tools").bind_tools([weather])
    call = bound.invoke(ASK)
    assert [used["name"] for used in call.tool_calls] == ["weather"]
    result = ToolMessage(weather.invoke(call.tool_calls[0]["args"]), tool_call_id=call.tool_calls[0]["id"])
    assert bound.invoke([HumanMessage(ASK), call, result]).content
    streamed = None
    for part in bound.stream(ASK):
        streamed = part if streamed is None else streamed + part
    assert streamed.tool_calls[0]["args"] == call.tool_calls[0]["args"]


@check
def openai_embeddings() -> None:
    embeddings: Any = OpenAIEmbeddings(
        model="embed", base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False, max_retries=0
    )
    assert len(embeddings.embed_documents(["First text", "Second text"])) == 2


@check
def openai_errors() -> None:
    raises(openai.NotFoundError, lambda: gpt("nope").invoke(ASK), says="No active model")
    raises(openai.APIError, lambda: list(gpt("cut").stream(ASK)), says="broke the connection")


@check
def anthropic_messages() -> None:
    answer = claude("gemma").invoke(ASK)
    assert answer.content
    assert answer.usage_metadata["output_tokens"] > 0


@check
def anthropic_stream() -> None:
    total = None
    for part in claude("gemma").stream(ASK):
        total = part if total is None else total + part
    assert total.content
    assert total.usage_metadata["output_tokens"] > 0


@check
def anthropic_tools() -> None:
    bound = claude("tools", max_tokens=512).bind_tools([weather])
    call = bound.invoke(ASK)
    assert [used["name"] for used in call.tool_calls] == ["weather"]
    result = ToolMessage(weather.invoke(call.tool_calls[0]["args"]), tool_call_id=call.tool_calls[0]["id"])
    assert bound.invoke([HumanMessage(ASK), call, result]).content


@check
def anthropic_thinking() -> None:
    model = claude("thinks", max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024})
    kinds = [block["type"] for block in model.invoke(ASK).content]
    assert kinds == ["thinking", "text"]


@check
def anthropic_errors() -> None:
    raises(anthropic.NotFoundError, lambda: claude("nope").invoke(ASK))
    raises(anthropic.APIStatusError, lambda: list(claude("cut").stream(ASK)), says="broke the connection")


main()
