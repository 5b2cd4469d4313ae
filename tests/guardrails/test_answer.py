import pytest

from appliance.config.schema import Guardrail
from appliance.guardrails.answer import UnreadableError, judged

LLAMA = Guardrail(name="g", kind="model", model="m", categories={"S1": "violence", "s7": "", "Hate": "hate"})
GRANITE = Guardrail(name="g", kind="model", model="m", safe=("no",), unsafe=("yes",))
QWEN = Guardrail(
    name="g", kind="model", model="m", unsafe=("unsafe", "controversial"), categories={"Violent": "violence"}
)


@pytest.mark.parametrize(
    ("guard", "answer", "categories"),
    [
        (LLAMA, "safe", []),
        (LLAMA, "\n\nsafe", []),
        (LLAMA, "Safe.", []),
        (LLAMA, "unsafe\nS1,S10", ["violence", "S10"]),
        (LLAMA, " unsafe \n S1 , S1\n", ["violence"]),
        (LLAMA, "unsafe", ["unsafe"]),
        (LLAMA, "unsafe\nS7", []),
        (LLAMA, "unsafe\nS7,S2", ["S2"]),
        (LLAMA, "unsafe\nhate", ["hate"]),
        (LLAMA, "unsafe\nbob@example.com says so", ["unsafe"]),
        (GRANITE, "No", []),
        (GRANITE, "Yes", ["unsafe"]),
        (QWEN, "Safety: Safe\nCategories: None", []),
        (QWEN, "Safety: Unsafe\nCategories: Violent, PII", ["violence"]),
        (QWEN, "Safety: Controversial\nCategories: Other", ["unsafe"]),
        (LLAMA, '{"verdict": "safe"}', []),
        (
            LLAMA,
            '{"verdict": "Unsafe ", "categories": ["S1", "S10"], "reason": "bob@example.com"}',
            ["violence", "S10"],
        ),
        (LLAMA, '{"safe": false, "category": "hate"}', ["hate"]),
        (LLAMA, '{"unsafe": false, "score": 0.1}', []),
        (LLAMA, '```json\n{\n  "safe": false,\n  "categories": {"S2": true, "S3": false}\n}\n```\n', ["S2"]),
        (LLAMA, '{"safe": false, "categories": ["S7"]}', []),
        (LLAMA, '{"unsafe": true}', ["unsafe"]),
        (GRANITE, '{"harmful": "yes"}', ["unsafe"]),
    ],
)
def test_answers_of_the_usual_guard_models(guard: Guardrail, answer: str, categories: list[str]) -> None:
    assert [finding.category for finding in judged(answer, guard)] == categories


OBJECTS = [
    "{}",
    '{"safe": true, "verdict": "unsafe"}',
    '{"reason": "It is safe."}',
    '{"safe": "maybe"}',
    "[]",
    '{"safe": fal',
    "{" * 3000,
]


@pytest.mark.parametrize("answer", ["", "I cannot help with that.", "safe or unsafe", "unsafely put", "\n", *OBJECTS])
def test_an_answer_that_says_neither_is_none(answer: str) -> None:
    with pytest.raises(UnreadableError):
        judged(answer, LLAMA)


def test_nothing_of_the_answer_is_repeated_but_known_names_and_codes() -> None:
    for finding in judged("unsafe\nbob@example.com, CANARY, 4111111111111111, S3", LLAMA):
        assert finding.category == "S3"
        assert "bob" not in finding.message
