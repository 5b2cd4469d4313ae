import pytest

from appliance.config.schema import Runtime
from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.errors import OperatorError
from appliance.supervisor.command import build, wants_socket

SOCKET = Address("unix", "/run/a/x.sock")
TCP = Address("http", "127.0.0.1", 4711)
KEY = Secret("s3cret")


def test_llama_listens_on_the_socket_and_the_operators_arguments_come_last() -> None:
    runtime = Runtime(name="m", engine="llama.cpp", model="/m.gguf", context=4096, slots=2, args=("-ngl", "99"))
    assert build(runtime, "/bin/llama-server", SOCKET, KEY).argv == (
        *("/bin/llama-server", "-m", "/m.gguf", "--alias", "m", "--host", "/run/a/x.sock"),
        *("-c", "4096", "--parallel", "2", "--metrics", "--no-webui", "-ngl", "99"),
    )


def test_what_is_not_set_is_left_to_the_engine() -> None:
    argv = build(Runtime(name="m", engine="llama.cpp"), "b", SOCKET, None).argv
    assert not {"-c", "--parallel", "--port", "--embeddings"} & set(argv)


def test_llama_gets_a_port_only_for_tcp() -> None:
    argv = build(Runtime(name="m", engine="llama.cpp"), "b", TCP, None).argv
    assert argv[argv.index("--port") + 1] == "4711"


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("embedding",), True), (("chat",), False), (("chat", "embedding"), False)]
)
def test_llama_is_restricted_to_embeddings_only_when_it_does_nothing_else(kinds: tuple, expected: bool) -> None:  # type: ignore[type-arg]
    assert (
        "--embeddings" in build(Runtime(name="m", engine="llama.cpp", kinds=kinds), "b", SOCKET, None).argv
    ) is expected


@pytest.mark.parametrize(
    "runtime", [Runtime(name="m", engine="llama.cpp"), Runtime(name="m", engine="command", command=("x",))]
)
def test_the_key_goes_by_environment_and_never_by_command_line(runtime: Runtime) -> None:
    launch = build(runtime, "b", SOCKET, KEY)
    assert launch.env["LLAMA_API_KEY"] == "s3cret"
    assert not any("s3cret" in word for word in launch.argv)
    assert "s3cret" not in repr(launch)


def test_a_command_has_its_placeholders_filled_and_other_braces_kept() -> None:
    command = ("p", "--uds={socket}", "{host}:{port}", "{model}", '{"a": {b}}', "{gpus}")
    runtime = Runtime(name="m", engine="command", command=command, model="{port}", args=("-v",), gpus=(0, 1))
    unix = build(runtime, "", SOCKET, KEY)
    assert unix.argv == ("p", "--uds=/run/a/x.sock", "127.0.0.1:", "{port}", '{"a": {b}}', "0,1", "-v")
    assert build(runtime, "", TCP, KEY).argv[2] == "127.0.0.1:4711"
    assert unix.env["APPLIANCE_CHILD_KEY"] == "s3cret"


def test_a_command_without_a_socket_placeholder_gets_a_port() -> None:
    assert wants_socket(Runtime(name="m", engine="llama.cpp"))
    assert wants_socket(Runtime(name="m", engine="command", command=("p", "-s={socket}")))
    assert not wants_socket(Runtime(name="m", engine="command", command=("p", "{port}")))


@pytest.mark.parametrize("runtime", [Runtime(name="m", engine="vllm"), Runtime(name="m", engine="command")])
def test_what_cannot_be_launched_is_refused_by_name(runtime: Runtime) -> None:
    with pytest.raises(OperatorError, match='"m"'):
        build(runtime, "b", SOCKET, None)
