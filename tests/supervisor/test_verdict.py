import pytest

from appliance.supervisor.verdict import Cause, Retry, Verdict, judge, telling

# The last lines of real engines.
LLAMA_MISSING = """\
0.00.009.205 E gguf_init_from_file: failed to open GGUF file '/no/such.gguf' (No such file or directory)
0.00.009.339 E llama_model_load: error loading model: llama_model_loader: failed to load model from /no/such.gguf
0.00.009.477 E cmn  common_init_: failed to load model '/no/such.gguf'
0.00.009.481 I srv    operator(): operator(): cleaning up before exit...
0.00.009.955 E srv  llama_server: exiting due to model loading error"""
LLAMA_LIBRARY = """\
/opt/llama/llama-server: error while loading shared libraries: libgomp.so.1: cannot open shared object file: No such file or directory"""
LLAMA_BROKEN = """\
0.00.005.045 E gguf_init_from_reader: invalid magic characters: 'i??X', expected 'GGUF'
0.00.005.725 E srv  llama_server: exiting due to model loading error"""
LLAMA_UNKNOWN = """\
0.00.248.047 E llama_model_load: error loading model: unknown model architecture: 'gemmaX'
0.00.248.952 E srv  llama_server: exiting due to model loading error"""
LLAMA_PORT = """\
0.00.003.264 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18999
0.00.003.345 E srv  llama_server: exiting due to HTTP server error"""
LLAMA_CONTEXT = """\
0.16.495.847 E srv    load_model: failed to create_context with model '/m/gemma.gguf'
0.16.496.639 E srv  llama_server: exiting due to model loading error"""
VLLM_CONTEXT = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len (2048)"""
VLLM_MEMORY = """\
(EngineCore pid=9) ValueError: Available memory on node 0 (16.52/18.21 GiB) on kv cache allocation is less than requested memory for kv (100.0 GiB).
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"""
VLLM_BUSY = """\
(EngineCore pid=9) ValueError: Free memory on device (3.1/79.2 GiB) on startup is less than desired GPU memory utilization (0.9, 71.3 GiB).
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above."""


def judged(text: str, code: int | None = 1, *, ready: bool = False, hint: Cause | None = None) -> Verdict:
    return judge(text.splitlines(), code, ended=f"exit code {code}", ready=ready, hint=hint)


@pytest.mark.parametrize(
    ("text", "cause", "retry"),
    [
        (LLAMA_MISSING, Cause.MISSING_MODEL, Retry.NEVER),
        (LLAMA_BROKEN, Cause.CONFIG, Retry.NEVER),
        (LLAMA_UNKNOWN, Cause.CONFIG, Retry.NEVER),
        ("error: invalid argument: --no-such-flag", Cause.CONFIG, Retry.NEVER),
        (LLAMA_PORT, Cause.PORT_RACE, Retry.NEW_PORT),
        (LLAMA_CONTEXT, Cause.OOM, Retry.ONCE),
        (VLLM_CONTEXT, Cause.CONFIG, Retry.NEVER),
        (VLLM_MEMORY, Cause.OOM, Retry.ONCE),
        (VLLM_BUSY, Cause.VRAM_BUSY, Retry.ONCE),
        (
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'a/b': '/x'.",
            Cause.MISSING_MODEL,
            Retry.NEVER,
        ),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot",
            Cause.MISSING_MODEL,
            Retry.NEVER,
        ),
        ("vllm: error: unrecognized arguments: --no-such-flag", Cause.CONFIG, Retry.NEVER),
        ("OSError: [Errno 98] Address already in use", Cause.PORT_RACE, Retry.NEW_PORT),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Cause.OOM, Retry.ONCE),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", Cause.GPU_FAULT, Retry.BACKOFF),
        ("RuntimeError: Found no NVIDIA driver on your system.", Cause.HOST, Retry.NEVER),
        (LLAMA_LIBRARY, Cause.HOST, Retry.NEVER),
        ("ImportError: libcudart.so.12: cannot open shared object file: No such file", Cause.HOST, Retry.NEVER),
        ("(EngineCore pid=3) EngineCore encountered a fatal error.", Cause.ENGINE_DEAD, Retry.BACKOFF),
        ("it just went away", Cause.EXITED, Retry.BACKOFF),
        ("", Cause.EXITED, Retry.BACKOFF),
    ],
)
def test_what_real_engines_say_at_their_start(text: str, cause: Cause, retry: Retry) -> None:
    verdict = judged(text)
    assert (verdict.cause, verdict.retry) == (cause, retry)
    assert verdict.words.startswith("exit code 1")
    if retry is Retry.NEVER or cause is Cause.OOM:
        assert verdict.advice


def test_the_words_are_the_line_that_says_why_not_the_one_that_says_that() -> None:
    assert "less than requested memory for kv" in judged(VLLM_MEMORY).words
    assert "No such file" in judged(LLAMA_MISSING).words


def test_a_missing_library_is_named_with_what_to_install() -> None:
    verdict = judged(LLAMA_LIBRARY, 127)
    assert "libgomp.so.1" in verdict.words
    assert "libgomp1" in verdict.advice


def test_what_may_be_said_at_any_time_does_not_condemn_a_model_that_was_ready() -> None:
    assert judged(LLAMA_MISSING, ready=True).cause is Cause.EXITED
    assert judged("torch.OutOfMemoryError: CUDA out of memory", ready=True).cause is Cause.OOM


@pytest.mark.parametrize(
    ("code", "cause"), [(-6, Cause.CRASH), (-11, Cause.CRASH), (-9, Cause.CRASH), (0, Cause.EXITED)]
)
def test_signals_are_crashes(code: int, cause: Cause) -> None:
    assert judged("ggml_abort", code).cause is cause


@pytest.mark.parametrize("code", [-9, -15, -2])
def test_who_is_killed_by_somebody_has_not_said_why(code: int) -> None:
    served = "INFO: 127.0.0.1 POST /v1/chat/completions 200 OK"
    verdict = judge([served], code, ended=f"killed by signal {-code}", ready=True)
    assert verdict.words == f"killed by signal {-code} from outside"
    assert "Somebody on this machine" in verdict.advice
    assert "dmesg" in verdict.advice
    complained = judge(["E cannot allocate 3 GiB", served], code, ended="killed", ready=True)
    assert complained.words == "killed from outside: E cannot allocate 3 GiB"
    assert judge([served], 1, ended="exit code 1", ready=True).words == f"exit code 1: {served}"


def test_who_was_killed_for_memory_is_told_so_without_an_ordinary_line() -> None:
    verdict = judge(["slot released"], -9, ended="killed", ready=True, hint=Cause.HOST_OOM)
    assert (verdict.words, verdict.cause) == ("killed", Cause.HOST_OOM)
    assert "ran out of memory" in verdict.advice


def test_an_end_that_nobody_saw_quotes_complaints_only() -> None:
    assert judge(["slot released"], None, ended="ended", ready=True).words == "ended"
    assert judge(["fatal: no"], None, ended="ended", ready=True).words == "ended: fatal: no"


def test_an_illegal_instruction_is_a_program_for_another_processor() -> None:
    verdict = judged("AMX is not ready to be used!", -4)
    assert (verdict.cause, verdict.retry) == (Cause.HOST, Retry.ONCE)
    assert "another processor" in verdict.advice


@pytest.mark.parametrize("hint", [Cause.HOST_OOM, Cause.STALLED, Cause.START_TIMEOUT, Cause.CANARY, Cause.PORT_RACE])
def test_what_we_know_ourselves_comes_before_the_log(hint: Cause) -> None:
    assert judged(LLAMA_MISSING, None, hint=hint).cause is hint


def test_words_stay_short() -> None:
    assert len(judged("error: " + "x" * 5000).words) < 400


def test_telling() -> None:
    assert telling(["loading", "error: this", "bye"]) == "error: this"
    assert telling(["error: why", "Engine core initialization failed. See root cause above."]) == "error: why"
    assert telling(["one", "two"]) == "two"
    assert telling(["", " "]) == ""
    assert telling(["one", "two"], complaints_only=True) == ""
