import json

import pytest

from appliance.config.schema import Runtime
from appliance.domain.status import Measure
from appliance.supervisor.questions import canary, reading, slots

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


async def test_an_engine_tells_its_numbers_or_has_none_or_does_not_answer() -> None:
    assert await reading(Engine(404).send) == {}
    assert await reading(Engine(500).send) is None
    assert await reading(Engine(error=OSError("gone")).send) is None
    engine = Engine(body=b"llamacpp:requests_processing 4\n")
    assert await reading(engine.send) == {Measure.RUNNING: 4}
    assert engine.asked == [("GET", "/metrics", None)]


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
