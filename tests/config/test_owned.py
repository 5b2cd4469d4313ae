import pytest

from appliance.config.owned import own_flag, own_variable


@pytest.mark.parametrize(
    ("engine", "argument", "flag"),
    [
        ("vllm", "--uds=/x", "--uds"),
        ("vllm", "--api_key", "--api_key"),
        ("llama.cpp", "-a", "-a"),
        ("llama.cpp", "--uds", ""),
        ("vllm", "--dtype", ""),
        ("command", "--port", ""),
    ],
)
def test_flags_of_the_door_are_our_own(engine: str, argument: str, flag: str) -> None:
    assert own_flag(engine, argument) == flag


def test_variables_of_key_and_gpus_are_our_own() -> None:
    assert own_variable("VLLM_API_KEY")
    assert own_variable("APPLIANCE_REPLICA")
    assert own_variable("CUDA_VISIBLE_DEVICES")
    assert not own_variable("OMP_NUM_THREADS")
