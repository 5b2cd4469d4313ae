from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.config.masking import MASK
from appliance.config.schema import Runtime
from appliance.config.units import Size
from appliance.supervisor.explain import explain, fingerprint, log_path, replica_names

STATE = Path("/var/lib/a")
VLLM = Runtime(
    name="big",
    engine="vllm",
    model="/m",
    binary="/opt/vllm/bin/vllm",
    context=8192,
    memory=Size(18 * 2**30),
    args=("--max-model-len", "4096"),
    env={"HF_TOKEN": "canary"},
)


def test_every_word_of_the_command_line_has_an_origin() -> None:
    found = explain(VLLM, STATE, gpus=(0, 1), total=24 * 2**30)
    assert " ".join(found.argv) == " ".join(words for words, _ in found.origins)
    assert ("--max-model-len 8192", "context") in found.origins
    assert ("--max-model-len 4096", "args") in found.origins
    assert any(words == "--gpu-memory-utilization 0.750" for words, _ in found.origins)
    assert (found.gpus, found.memory, found.memory_from) == ((0, 1), 18 * 2**30, "declared")


def test_it_is_told_where_args_win_over_a_setting() -> None:
    assert "--max-model-len of args wins over the one from: context" in explain(VLLM, STATE).notes


def test_no_secret_is_shown() -> None:
    found = explain(VLLM, STATE)
    assert dict(found.env)["VLLM_API_KEY"] == dict(found.env)["HF_TOKEN"] == MASK
    assert "canary" not in repr(found)


def test_no_secret_of_the_command_line_is_shown() -> None:
    found = explain(replace(VLLM, args=("--hf-token", "canary", "--db-password=canary")), STATE)
    assert "canary" not in repr(found)
    assert found.argv[-3:] == ("--hf-token", MASK, f"--db-password={MASK}")
    assert (f"--hf-token {MASK} --db-password={MASK}", "args") in found.origins


def test_address_log_and_replicas_are_those_of_a_start() -> None:
    found = explain(VLLM, STATE)
    assert (found.address, found.log) == ("unix:/var/lib/a/run/big.sock", "/var/lib/a/logs/big.log")
    tcp = explain(Runtime(name="c", engine="command", command=("x", "{port}")), STATE)
    assert tcp.address == "127.0.0.1, a free port at every start"
    assert log_path(STATE, "a/b").name == "a%2Fb.log"


@pytest.mark.parametrize(("count", "names"), [(1, ("m",)), (2, ("m@1", "m@2"))])
def test_replicas_are_numbered_when_there_are_several(count: int, names: tuple[str, ...]) -> None:
    assert replica_names(Runtime(name="m", engine="vllm", replicas=count)) == names


def test_a_missing_program_is_a_note_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = explain(Runtime(name="m", engine="vllm", model="/m"), STATE)
    assert found.argv[0] == "vllm"
    assert "no vllm for runtime" in found.notes[0]


def test_the_fingerprint_changes_with_any_setting_and_with_nothing_else() -> None:
    again = Runtime(name="m", engine="vllm", env={"A": "1", "B": "2"})
    assert fingerprint(again) == fingerprint(Runtime(name="m", engine="vllm", env={"B": "2", "A": "1"}))
    assert fingerprint(again) != fingerprint(Runtime(name="m", engine="vllm", env={"A": "1", "B": "3"}))
