import pytest

from appliance.supervisor.progress import Stage, stage_of


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        (
            "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01,  1.6it/s]",
            Stage("loading weights", 50),
        ),
        ("(Worker pid=7) INFO 11-24 Loading weights took 18.20 seconds", Stage("weights loaded")),
        ("INFO [backends.py:215] Dynamo bytecode transform time: 5.10 s", Stage("compiling")),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  91%|████| 61/67",
            Stage("capturing CUDA graphs", 91),
        ),
        ("INFO GPU KV cache size: 120,304 tokens", Stage("sizing the cache")),
        ("(APIServer pid=5) INFO:     Application startup complete.", Stage("starting the server")),
        ("INFO vLLM API server version 0.32.0", Stage("reading the model")),
        ("something else", None),
    ],
)
def test_vllm(line: str, stage: Stage | None) -> None:
    assert stage_of("vllm", line) == stage


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("0.00.004.765 I srv    load_model: loading model '/models/gemma.gguf'", Stage("loading weights")),
        ("load_tensors: offloading 0 repeating layers to GPU", Stage("loading weights")),
        ("." * 40, Stage("loading weights", 40)),
        ("llama_context: constructing llama_context", Stage("making the context")),
        ("0.00.843.920 I cmn          init: llama threadpool init, n_threads = 2", Stage("warming up")),
        ("0.01.168.648 I srv  llama_server: listening on unix:///run/m.sock", Stage("starting the server")),
        ("W srv  llama_server: -----------------", None),
    ],
)
def test_llama_server(line: str, stage: Stage | None) -> None:
    assert stage_of("llama.cpp", line) == stage


@pytest.mark.parametrize(
    ("line", "stage"), [("loading 45 %", Stage("loading", 45)), ("42%", Stage("loading", 42)), ("hello", None)]
)
def test_any_other_program(line: str, stage: Stage | None) -> None:
    assert stage_of("command", line) == stage
