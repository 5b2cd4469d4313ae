from pathlib import Path

import pytest

from appliance.config.schema import Runtime
from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.errors import OperatorError
from appliance.supervisor.command import KEY_VARIABLES, build, wants_socket

SOCKET = Address("unix", "/run/a/x.sock")
TCP = Address("http", "127.0.0.1", 4711)
KEY = Secret("s3cret")
STATE = Path("/var/lib/a")
LLAMA = Runtime(name="m", engine="llama.cpp", args=("-ngl", "20"))
VLLM = Runtime(name="m", engine="vllm", model="/m", args=("--dtype", "half"))
COMMAND = Runtime(name="m", engine="command", command=("x",), args=("-v",))


@pytest.mark.parametrize("runtime", [LLAMA, VLLM, COMMAND])
def test_the_operators_arguments_come_last_and_every_part_has_an_origin(runtime: Runtime) -> None:
    launch = build(runtime, "b", SOCKET, KEY, gpus=(0,), state_dir=STATE)
    assert launch.argv[-len(runtime.args) :] == runtime.args
    assert launch.parts[-1].origin == "args"
    assert all(part.origin for part in launch.parts)


@pytest.mark.parametrize("runtime", [LLAMA, VLLM, COMMAND])
def test_the_key_goes_by_environment_and_never_by_command_line(runtime: Runtime) -> None:
    launch = build(runtime, "b", SOCKET, KEY, state_dir=STATE)
    with_key = {name for name, value in launch.env.items() if value == "s3cret"}
    assert with_key
    assert with_key == launch.secrets
    assert not any("s3cret" in word for word in launch.argv)
    assert "s3cret" not in repr(launch)
    assert not set(build(runtime, "b", SOCKET, None, state_dir=STATE).env) & set(KEY_VARIABLES)


@pytest.mark.parametrize("runtime", [LLAMA, VLLM, COMMAND])
def test_it_sees_its_gpus_alone(runtime: Runtime) -> None:
    assert build(runtime, "b", SOCKET, None, gpus=(1, 3), state_dir=STATE).env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert "CUDA_VISIBLE_DEVICES" not in build(runtime, "b", SOCKET, None, state_dir=STATE).env


def test_variables_of_the_config_pass_but_never_over_the_key() -> None:
    runtime = Runtime(name="m", engine="vllm", model="/m", env={"HF_TOKEN": "t", "VLLM_API_KEY": "mine"})
    launch = build(runtime, "b", SOCKET, KEY, state_dir=STATE)
    assert launch.env["HF_TOKEN"] == "t"
    assert launch.env["VLLM_API_KEY"] == "s3cret"
    assert {"HF_TOKEN", "VLLM_API_KEY"} <= launch.secrets


def test_temporary_files_go_where_they_are_sent() -> None:
    assert build(VLLM, "b", SOCKET, None, state_dir=STATE, temporary=Path("/run/m.d")).env["TMPDIR"] == "/run/m.d"
    assert "TMPDIR" not in build(VLLM, "b", SOCKET, None, state_dir=STATE).env


def test_only_what_shall_sleep_can() -> None:
    assert "--enable-sleep-mode" in build(VLLM, "b", SOCKET, None, state_dir=STATE, sleep=True).argv
    assert "--enable-sleep-mode" not in build(VLLM, "b", SOCKET, None, state_dir=STATE).argv


def test_a_command_has_its_placeholders_filled_and_other_braces_kept() -> None:
    command = ("p", "--uds={socket}", "{host}:{port}", "{model}", '{"a": {b}}', "{gpus}")
    runtime = Runtime(name="m", engine="command", command=command, model="{port}", args=("-v",))
    unix = build(runtime, "", SOCKET, KEY, gpus=(0, 1), state_dir=STATE)
    assert unix.argv == ("p", "--uds=/run/a/x.sock", "127.0.0.1:", "{port}", '{"a": {b}}', "0,1", "-v")
    assert build(runtime, "", TCP, KEY, state_dir=STATE).argv[2] == "127.0.0.1:4711"
    assert unix.env["APPLIANCE_CHILD_KEY"] == "s3cret"


def test_a_command_without_a_socket_placeholder_gets_a_port() -> None:
    assert wants_socket(LLAMA)
    assert wants_socket(VLLM)
    assert wants_socket(Runtime(name="m", engine="command", command=("p", "-s={socket}")))
    assert not wants_socket(Runtime(name="m", engine="command", command=("p", "{port}")))


def test_a_command_that_is_empty_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match='"m"'):
        build(Runtime(name="m", engine="command"), "b", SOCKET, None, state_dir=STATE)
