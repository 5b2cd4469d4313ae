import json

import pytest

from appliance.config.masking import MASK
from appliance.config.schema import Backend, Config, Guardrail, Key, Runtime
from appliance.diagnosis.redaction import LEFT_OUT, Redaction, masked
from appliance.domain.secret import Secret

CANARY = "canary7f3a9c"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"x-api-key: {CANARY}",
        f'{{"api_key": "{CANARY}"}}',
        f"--hf-token {CANARY}",
        f"password={CANARY}",
        f"http://user:{CANARY}@host/v1",
        f"sk-{CANARY}",
        f"hf_{CANARY}",
        f"eyJhbGciOi{CANARY}.{CANARY}.{CANARY}",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
        f"the known one is {CANARY}-known",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    assert CANARY not in Redaction([Secret(f"{CANARY}-known")])(text)


@pytest.mark.parametrize(
    "text", ["12:00:01 info    listening on 0.0.0.0:8000", "prompt_tokens_total 12", 'key="alice",model="m"']
)
def test_what_is_none_stays(text: str) -> None:
    assert Redaction()(text) == text


@pytest.mark.parametrize(
    "line",
    [
        f"INFO 11-25 12:00:00 [logger.py:39] Received request cmpl-1: prompt: '{CANARY}', params: SamplingParams()",
        f'srv  log_server_r: request: {{"messages":[{{"role":"user","content":"{CANARY}"}}]}}',
        f"0.00.123 I slot update: prompt = '{CANARY}'",
        f'ERROR 11-25 [serving.py:1] bad template: {{"content": "{CANARY}"}}',
        CANARY,
        f"    and the second line of a prompt with {CANARY}",
    ],
)
def test_a_line_of_an_engine_that_may_hold_a_request_is_left_out(line: str) -> None:
    assert list(Redaction().engine_log(["load_model: loading", line, line])) == ["load_model: loading", LEFT_OUT]


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-25 12:00:00 [core.py:1] # GPU blocks: 123",
        "(EngineCore pid=12) ERROR 11-25 12:00:00 [core.py:9] CUDA out of memory",
        "llama_model_load: error loading model: no such file",
        "0.12.345.678 I srv  load_model: loading model",
        "slot print_timing: id 0 | prompt eval time = 12.3 ms / 4 tokens",
        "OutOfMemoryError: CUDA out of memory",
        "Traceback (most recent call last):",
        '  File "/opt/vllm/core.py", line 3, in run',
    ],
)
def test_what_an_engine_says_of_itself_stays(line: str) -> None:
    assert list(Redaction().engine_log([line])) == [line]


def test_texts_of_the_state_are_looked_through() -> None:
    state = {"replicas": [{"replica": "m", "reason": f"prompt: '{CANARY}'", "pid": 7, "note": f"Bearer {CANARY}"}]}
    found = Redaction().state(state)
    assert CANARY not in json.dumps(found)
    assert found["replicas"][0]["pid"] == 7


def test_the_configuration_keeps_its_settings_and_loses_its_secrets() -> None:
    config = Config(
        keys=(Key(name="alice", hash="sha256:" + "a" * 64),),
        runtimes=(
            Runtime(
                name="m",
                engine="command",
                env={"HF_TOKEN": CANARY},
                args=("--token", CANARY, f"--api-secret={CANARY}", "--ctx-size", "4096"),
                command=("x", "--password", CANARY),
            ),
        ),
        backends=(Backend(name="b", engine="openai", url="http://h", key_env="NAME_OF_A_VARIABLE"),),
        guardrails=(Guardrail(name="g", kind="model", instructions=CANARY),),
    )
    found = masked(config)
    text = json.dumps(found, default=str)
    assert CANARY not in text
    assert "a" * 64 not in text
    assert found["runtimes"][0]["args"] == ["--token", MASK, f"--api-secret={MASK}", "--ctx-size", "4096"]
    assert found["runtimes"][0]["env"] == {"HF_TOKEN": MASK}
    assert found["backends"][0]["key_env"] == "NAME_OF_A_VARIABLE"
    assert found["server"]["drain"] == 30.0
