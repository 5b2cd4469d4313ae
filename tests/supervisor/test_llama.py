import pytest

from appliance.config.schema import Runtime
from appliance.domain.targets import Address
from appliance.supervisor.llama import parts

SOCKET = Address("unix", "/run/a/x.sock")


def argv(runtime: Runtime, address: Address = SOCKET, gpus: tuple[int, ...] | None = None) -> list[str]:
    return [word for part in parts(runtime, "/bin/llama-server", address, gpus) for word in part.words]


def test_settings_become_flags() -> None:
    runtime = Runtime(name="m", engine="llama.cpp", model="/m.gguf", context=4096, slots=2)
    assert argv(runtime) == [
        *("/bin/llama-server", "-m", "/m.gguf", "--alias", "m", "--host", "/run/a/x.sock"),
        *("-c", "8192", "--parallel", "2", "--threads-http", "10"),
        *("--metrics", "--no-webui", "--no-slots", "--offline"),
    ]


def test_context_is_what_one_request_may_have_and_says_how_it_grew() -> None:
    made = parts(Runtime(name="m", engine="llama.cpp", context=100, slots=3), "b", SOCKET, None)
    assert [part.words for part in made if part.origin == "context x slots (100 x 3)"] == [("-c", "300")]
    alone = argv(Runtime(name="m", engine="llama.cpp", context=100))
    assert alone[alone.index("-c") + 1] == "100"


def test_what_is_not_set_is_left_to_the_engine() -> None:
    assert not {"-c", "--parallel", "--port", "--embeddings", "-ngl", "--device"} & set(
        argv(Runtime(name="m", engine="llama.cpp"))
    )


def test_only_tcp_has_a_port() -> None:
    words = argv(Runtime(name="m", engine="llama.cpp"), Address("http", "127.0.0.1", 4711))
    assert words[words.index("--port") + 1] == "4711"


def test_with_gpus_the_whole_model_is_on_them_and_with_none_it_stays_off() -> None:
    on, off = (
        argv(Runtime(name="m", engine="llama.cpp"), gpus=(1,)),
        argv(Runtime(name="m", engine="llama.cpp"), gpus=()),
    )
    assert on[on.index("-ngl") + 1] == "999"
    assert off[off.index("--device") + 1] == "none"


def test_it_ranks_only_when_it_does_nothing_else() -> None:
    assert "--reranking" in argv(Runtime(name="m", engine="llama.cpp", kinds=("rerank",)))
    assert "--reranking" not in argv(Runtime(name="m", engine="llama.cpp", kinds=("chat", "rerank")))


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("embedding",), True), (("chat",), False), (("chat", "embedding"), False)]
)
def test_it_is_restricted_to_embeddings_only_when_it_does_nothing_else(kinds: tuple, expected: bool) -> None:  # type: ignore[type-arg]
    assert ("--embeddings" in argv(Runtime(name="m", engine="llama.cpp", kinds=kinds))) is expected
