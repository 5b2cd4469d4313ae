from pathlib import Path

from appliance.config.schema import Runtime
from appliance.config.units import Seconds, Size
from appliance.domain.targets import Address
from appliance.supervisor.vllm import environment, parts

SOCKET = Address("unix", "/run/a/x.sock")
PLAIN = Runtime(name="m", engine="vllm", model="/m")


def argv(
    runtime: Runtime = PLAIN,
    address: Address = SOCKET,
    gpus: tuple[int, ...] | None = None,
    total: int | None = None,
) -> list[str]:
    made = parts(runtime, "/bin/vllm", address, gpus, total=total)
    return [word for part in made for word in part.words]


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_settings_become_flags() -> None:
    assert argv(Runtime(name="m", engine="vllm", model="/m", context=4096, slots=2)) == [
        *("/bin/vllm", "serve", "/m", "--served-model-name", "m", "--uds", "/run/a/x.sock"),
        *("--max-model-len", "4096", "--max-num-seqs", "2"),
        *("--allowed-media-domains", "media.invalid", "--disable-uvicorn-access-log"),
    ]


def test_without_a_socket_it_listens_on_a_port() -> None:
    words = argv(address=Address("http", "127.0.0.1", 4711))
    assert (after(words, "--host"), after(words, "--port")) == ("127.0.0.1", "4711")
    assert "--uds" not in words


def test_the_model_is_split_over_all_its_gpus() -> None:
    assert after(argv(gpus=(0, 1)), "--tensor-parallel-size") == "2"
    assert "--tensor-parallel-size" not in argv(gpus=(3,)) + argv(gpus=None)


def test_declared_memory_is_the_part_of_the_gpu_that_it_takes() -> None:
    runtime = Runtime(name="m", engine="vllm", model="/m", memory=Size(18 * 2**30))
    assert after(argv(runtime, total=24 * 2**30), "--gpu-memory-utilization") == "0.750"
    assert after(argv(runtime, total=16 * 2**30), "--gpu-memory-utilization") == "0.980"
    assert "--gpu-memory-utilization" not in argv(runtime) + argv(total=2**30)


def test_embedding_models_pool() -> None:
    words = argv(Runtime(name="m", engine="vllm", model="/m", kinds=("embedding",)))
    assert (after(words, "--runner"), after(words, "--convert")) == ("pooling", "embed")


def test_ranking_models_pool_and_what_they_are_converted_to_is_left_to_them() -> None:
    words = argv(Runtime(name="m", engine="vllm", model="/m", kinds=("rerank",)))
    assert after(words, "--runner") == "pooling"
    assert "--convert" not in words


def test_what_it_compiles_is_kept_in_the_state_directory() -> None:
    made = environment(PLAIN, Path("/var/lib/a"), sleep=False)
    assert {made[name] for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")} == {
        "/var/lib/a/cache/vllm",
        "/var/lib/a/cache/inductor",
        "/var/lib/a/cache/triton",
    }
    assert made["VLLM_HOST_IP"] == "127.0.0.1"


def test_its_own_deadline_is_ours_and_none_is_a_very_long_one() -> None:
    assert environment(PLAIN, Path("/s"), sleep=False)["VLLM_ENGINE_READY_TIMEOUT_S"] == "3600"
    endless = Runtime(name="m", engine="vllm", load_limit=Seconds(0))
    assert int(environment(endless, Path("/s"), sleep=False)["VLLM_ENGINE_READY_TIMEOUT_S"]) > 10**5


def test_developer_mode_is_on_only_where_it_shall_sleep() -> None:
    assert environment(PLAIN, Path("/s"), sleep=False)["VLLM_SERVER_DEV_MODE"] == "0"
    assert environment(PLAIN, Path("/s"), sleep=True)["VLLM_SERVER_DEV_MODE"] == "1"
