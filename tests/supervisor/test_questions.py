import json

import pytest

from appliance.config.schema import Runtime
from appliance.supervisor.questions import canary, counted, slots, tokens

CHAT = Runtime(name="qwen", engine="vllm", model="/m")
EMBED = Runtime(name="e", engine="llama.cpp", model="/m", kinds=("embedding",))


class Engine:
    def __init__(self, status: int = 200, body: bytes = b"{}", error: OSError | None = None) -> None:
        self.asked: list[tuple[str, str, object]] = []
        self.answer = status, body
        self.error = error

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.asked.append((method, path, json.loads(body) if body else None))
        if self.error is not None:
            raise self.error
        return self.answer


async def test_the_canary_asks_for_one_token() -> None:
    engine = Engine()
    assert await canary(engine.send, CHAT) == ""
    assert engine.asked == [("POST", "/v1/completions", {"model": "qwen", "prompt": ".", "max_tokens": 1})]


async def test_an_embedding_model_is_asked_for_an_embedding() -> None:
    engine = Engine()
    assert await canary(engine.send, EMBED) == ""
    assert engine.asked == [("POST", "/v1/embeddings", {"model": "e", "input": "."})]


async def test_a_ranking_model_is_asked_to_rank() -> None:
    engine = Engine()
    assert await canary(engine.send, Runtime(name="r", engine="llama.cpp", kinds=("rerank",))) == ""
    assert engine.asked == [("POST", "/v1/rerank", {"model": "r", "query": ".", "documents": ["."]})]


@pytest.mark.parametrize(("status", "why"), [(500, "answered 500"), (401, "answered 401"), (404, ""), (501, "")])
async def test_what_its_answer_means(status: int, why: str) -> None:
    said = await canary(Engine(status).send, CHAT)
    assert why in said
    assert bool(said) is bool(why)


async def test_no_answer_is_a_reason() -> None:
    assert await canary(Engine(error=OSError("nobody there")).send, CHAT) == "nobody there"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b'vllm:prompt_tokens_total{engine="0"} 10.0\nvllm:generation_tokens_total{engine="0"} 5.0\n', 15.0),
        (b"# HELP x\nllamacpp:prompt_tokens_total 4\nllamacpp:tokens_predicted_total 1e2\n", 104.0),
        (b"other_total 5\n", None),
        (b"", None),
        (b"llamacpp:prompt_tokens_total 1e1e1\n", None),
    ],
)
def test_counters(text: bytes, count: float | None) -> None:
    assert counted(text) == count


async def test_an_engine_that_does_not_tell() -> None:
    assert await tokens(Engine(404).send) is None
    assert await tokens(Engine(error=OSError("gone")).send) is None
    assert await tokens(Engine(body=b"llamacpp:prompt_tokens_total 4\n").send) == 4


@pytest.mark.parametrize(
    ("status", "body", "count"),
    [
        (200, b'{"total_slots":4}', 4),
        (200, b"{}", 8),
        (200, b'{"total_slots":"x"}', 8),
        (200, b"[]", 8),
        (200, b"x", 8),
        (404, b"", 8),
    ],
)
async def test_llama_server_says_how_many_slots_it_has(status: int, body: bytes, count: int) -> None:
    engine = Engine(status, body)
    assert await slots(engine.send, Runtime(name="m", engine="llama.cpp", model="/m", slots=8)) == count
    assert engine.asked == [("GET", "/props", None)]


async def test_the_slots_of_others_are_what_is_configured() -> None:
    engine = Engine(200, b'{"total_slots":4}')
    assert await slots(engine.send, CHAT) == 0
    assert await slots(engine.send, Runtime(name="m", engine="vllm", model="/m", slots=8)) == 8
    assert engine.asked == []
    assert await slots(Engine(error=OSError("gone")).send, EMBED) == 0
