"""Model servers that somebody else runs: listed, probed, avoided while they are down."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import free_port, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@contextlib.contextmanager
def engine(port: int, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [*PROGRAM, "_engine", "--host", "127.0.0.1", "--port", str(port), *flags]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def backend(name: str, port: int, kind: str = "openai", suffix: str = "") -> str:
    return f'[[backends]]\nname = "{name}"\nengine = "{kind}"\nurl = "http://127.0.0.1:{port}{suffix}"\n'


@pytest.mark.parametrize(("kind", "suffix"), [("openai", "/v1"), ("vllm", ""), ("llama.cpp", "/"), ("tgi", "/v1/")])
def test_a_backends_models_are_listed_and_served(tmp_path: Path, kind: str, suffix: str) -> None:
    port = free_port()
    with (
        engine(port, "--model", "org/tiny"),
        product(tmp_path, backend("box", port, kind, suffix), "probe_interval = '200ms'") as running,
    ):

        def listed() -> bool:
            models = httpx.get(f"{running.url}/v1/models", headers=running.headers).json()["data"]
            return [model["id"] for model in models] == ["org/tiny"]

        running.until(listed, 20)
        reply = running.post("/v1/chat/completions", CHAT | {"model": "org/tiny"})
        assert reply.status_code == 200
        assert httpx.get(f"{running.url}/v1/models/org%2Ftiny", headers=running.headers).status_code == 200
        embedding = running.post("/v1/embeddings", {"model": "org/tiny", "input": "x"})
        assert embedding.status_code == (501 if kind == "tgi" else 200)


def test_a_backend_that_goes_down_is_avoided_and_found_again(tmp_path: Path) -> None:
    port = free_port()
    tables = (
        backend("box", port)
        + '[[models]]\nname = "only"\ntargets = ["box/x"]\n'
        + '[[models]]\nname = "both"\ntargets = ["box/x", "spare"]\n'
        + runtime("spare")
    )
    with product(tmp_path, tables, "probe_interval = '200ms'") as running:
        running.ready("both")  # a dead backend does not stop the start

        def answers(model: str, status: int) -> bool:
            return running.post("/v1/chat/completions", CHAT | {"model": model}).status_code == status

        running.until(lambda: answers("only", 503), 20)
        refused = running.post("/v1/chat/completions", CHAT | {"model": "only"})
        assert refused.json()["error"]["code"] == "no_healthy_backend"
        assert refused.headers["retry-after"]
        assert answers("both", 200)
        with engine(port):
            running.until(lambda: answers("only", 200), 20)
        assert answers("both", 200)  # the connection is refused before the next probe: the spare takes over
        running.until(lambda: answers("only", 503), 20)
