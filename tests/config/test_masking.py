import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import parse
from appliance.config.masking import effective, masked, restored
from appliance.errors import OperatorError

HASH = "sha256:" + "0" * 64
TEXT = f"""\
[[keys]]
name = "a"
hash = "{HASH}"  # of alice
[[runtimes]]
name = "r"
engine = "vllm"
model = "/m"
args = ["--tokenizer", "t", "--hf-token", "canary-1", "--api-secret=canary-2", '--max-tokens=3']
env = {{ HF_TOKEN = 'canary-3' }}
[[runtimes]]
name = "q"
engine = "command"
command = ["serve", "{{port}}", "--password"]
[runtimes.env]
X = "canary-1"
"""


def test_secrets_are_masked_and_the_rest_is_as_it_was() -> None:
    found = masked(TEXT)
    assert "canary" not in found.text
    assert HASH not in found.text
    assert 'hash = "***1***"  # of alice' in found.text
    assert """args = ["--tokenizer", "t", "--hf-token", "***2***", "***3***", '--max-tokens=3']""" in found.text
    assert 'X = "***2***"' in found.text  # the same secret
    assert found.secrets == (f'"{HASH}"', '"canary-1"', '"--api-secret=canary-2"', "'canary-3'")
    assert restored(found.text, found.secrets) == TEXT


def test_an_edited_text_gets_its_secrets_back_wherever_they_went() -> None:
    found = masked(TEXT)
    moved = f'[[keys]]\nname = "b"\nhash = "sha256:{"1" * 64}"\n' + found.text
    again = masked(restored(moved, found.secrets), found.secrets)
    assert again.text == moved.replace(f'"sha256:{"1" * 64}"', '"***5***"')
    with pytest.raises(OperatorError, match=r'"\*\*\*7\*\*\*" stands for no value'):
        restored('x = "***7***"', found.secrets)


def test_what_is_in_effect_is_shown_without_secrets() -> None:
    config, _ = parse(TEXT)
    assert config is not None
    facts = effective(config)
    assert "canary-" not in str(facts)
    assert HASH not in str(facts)
    assert facts["runtimes"][0]["args"] == ["--tokenizer", "t", "--hf-token", "***", "***", "--max-tokens=3"]
    assert facts["runtimes"][1]["env"] == {"X": "***"}
    assert facts["server"]["drain"] == 30


@given(st.lists(st.text("abc\"'\\\n#=", max_size=6), max_size=4))
def test_any_values_come_back(values: list[str]) -> None:
    rows = "\n".join(f"V{at} = {_quoted(value)}" for at, value in enumerate(values))
    text = f'[[runtimes]]\nname = "r"\n[runtimes.env]\n{rows}\n'
    found = masked(text)
    assert restored(found.text, found.secrets) == text
    assert found.text.count("***") == 2 * len(values)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
