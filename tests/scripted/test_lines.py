from typing import get_args, get_type_hints

import pytest

from appliance.scripted.lines import burst, complete, last_words, progress
from appliance.scripted.script import Script

FAILURES = [word for word in get_args(get_type_hints(Script)["fail"]) if word]


def test_progress_is_told_in_each_engines_words() -> None:
    assert "shards:  45% Completed | 9/20" in progress("vllm", 45)
    assert "progress = 0.45" in progress("llama.cpp", 45)
    assert complete("vllm")[-1] == "INFO:     Application startup complete."
    assert complete("llama.cpp")[-1].endswith("model loaded")


@pytest.mark.parametrize("fail", FAILURES)
@pytest.mark.parametrize("style", ["vllm", "llama.cpp"])
def test_every_failure_has_last_words_and_a_code(style: str, fail: str) -> None:
    code, words = last_words(style, fail)  # type: ignore[arg-type]  # from the parameters
    assert code in {1, 2}
    assert all(words)


def test_vllms_parent_hides_its_childs_reason_behind_its_own_words() -> None:
    _, words = last_words("vllm", "oom")
    assert "CUDA out of memory" in words[0]
    assert "See root cause above" in words[-1]


def test_a_burst_has_endless_lines_and_bytes_that_are_no_text() -> None:
    blocks = list(burst(4))
    assert len(blocks) == 4
    assert max(map(len, blocks[0].split(b"\n"))) == 2**20 - 1
    assert b"\xff" in blocks[1]
    assert b"\x1b[31m" in blocks[2]
    assert b"\n" not in blocks[3]
    assert sum(map(len, blocks)) > 3.9 * 2**20
