"""`appliance selftest`: serve a scripted model for a moment and check that requests go all the way through.

The server, its model process and the requests are real and need the libraries that the build has to bring: SQLite, the
parser of HTTP and the rest. What a moment of serving does not touch is touched by name.
"""

import argparse
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import trio

from appliance.authority.issue import issued_by, new_authority, new_leaf
from appliance.authority.subject import Permitted, Subject
from appliance.config.load import load_config
from appliance.config.schema import Config, Guardrail, Model, Runtime, Server
from appliance.config.secrets import credentials, environment_keys, process_environment
from appliance.config.units import Seconds
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState
from appliance.errors import ApplianceError, OperatorError
from appliance.guardrails.check import findings as guardrails
from appliance.serve import Running, serve

_MODEL = "selftest"
_LIMIT = 60.0  # seconds for everything, leaving included
_POLL = 0.05  # seconds between two looks at the fleet
_TOKENS = 8


class CheckFailed(Exception):  # noqa: N818 - it is a result
    """A step did not do what it should; the text says which and why."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser("selftest", help="check that this build works on this machine")
    parser.add_argument("--config", type=Path, metavar="FILE", help="check as well that this configuration can be used")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything once. Returns 0, or 1 after printing the step that failed."""
    if args.config is not None:
        try:
            check_config(args.config)
        except OperatorError as error:
            print(f"FAILED  the configuration: {error}", file=sys.stderr)
            return 1
        print(f"ok      {args.config} can be used")
    return trio.run(_bounded, print)


def check_config(file: Path) -> None:
    """Read a configuration as `serve` would.

    Raises:
        OperatorError: it cannot be used; the text has every reason.
    """
    environment = process_environment()
    has_keys = bool(environment_keys(environment))
    credentials(load_config(file, has_environment_keys=has_keys, also=(guardrails,)), environment)


def check_libraries() -> None:
    """Use what a moment of serving does not touch.

    Raises:
        CheckFailed: one of them does not do its work.
    """
    rule = Guardrail(name="selftest", kind="regex", patterns=("a{1,9}b",))
    model = Model(name=_MODEL, targets=(_MODEL,), guardrails=("selftest",))
    wrong = guardrails(Config(guardrails=(rule,), models=(model,)))
    _expect(not wrong, f"the search for patterns does not work: {wrong}")
    authority = new_authority(Permitted(("selftest",), ()), "selftest", time.clock_gettime(time.CLOCK_REALTIME))
    leaf = new_leaf(authority, Subject(("selftest",), ()), authority.begins + 1)
    _expect(issued_by(leaf, authority), "a certificate that was just signed is not recognised")


def engine_command(executable: str, *, frozen: bool) -> tuple[str, ...]:
    """The command line that starts the scripted engine from this very program."""
    start = (executable,) if frozen else (executable, "-m", "appliance")
    return (*start, "_engine", "--socket", "{socket}", "--model", _MODEL)


def build_config(state_dir: str, command: Sequence[str]) -> Config:
    """One scripted runtime on a free port of loopback."""
    runtime = Runtime(name=_MODEL, engine="command", command=tuple(command), kinds=("chat",), stop_grace=Seconds(2))
    return Config(
        server=Server(listen="127.0.0.1:0", state_dir=state_dir, drain=Seconds(1)),
        runtimes=(runtime,),
    )


async def _bounded(say: Callable[[str], None]) -> int:
    problem = ""
    with trio.move_on_after(_LIMIT) as scope:
        try:
            await _check(say)
        except* (ApplianceError, CheckFailed, OSError, httpx.HTTPError) as group:
            problem = "; ".join(_leaves(group))
    if scope.cancelled_caught:
        problem = f"not finished within {_LIMIT:g} s"
    if problem:
        print(f"FAILED  {problem}", file=sys.stderr)
        return 1
    say("ok      everything works")
    return 0


async def _check(say: Callable[[str], None]) -> None:
    check_libraries()
    say("ok      patterns and certificates can be worked with")
    key = secrets.token_urlsafe(24)
    command = engine_command(sys.executable, frozen=bool(getattr(sys, "frozen", False)))
    with tempfile.TemporaryDirectory(prefix="appliance-selftest-") as state_dir:
        config = build_config(state_dir, command)
        async with trio.open_nursery() as nursery:

            async def product(*, task_status: trio.TaskStatus[Running]) -> None:
                await serve(config, api_keys=(Secret(key),), listen_signals=False, task_status=task_status)

            running = await nursery.start(product)
            say(f"ok      listening on {running.host}:{running.port}")
            await _wait_until_ready(running)
            say("ok      a model process was started and is ready")
            # The environment's proxies are for the internet; this goes to loopback.
            base = f"http://{running.host}:{running.port}"
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=15) as client:
                await check_whole(client)
                say("ok      a plain request was answered, with its usage")
                await check_stream(client)
                say("ok      a streamed request was answered, with its usage and its end")
            nursery.cancel_scope.cancel()
        say("ok      the model process was stopped")


async def _wait_until_ready(running: Running) -> None:
    while True:
        for row in running.fleet.snapshot().of_runtime(_MODEL):
            if row.state is ReplicaState.BACKOFF:
                raise CheckFailed(f"the model process ended: {row.reason}")
            if row.state is ReplicaState.READY:
                return
        await trio.sleep(_POLL)


async def check_whole(client: httpx.AsyncClient) -> None:
    """One request without a stream.

    Raises:
        CheckFailed: the reply is not what it must be.
    """
    reply = await client.post("/v1/chat/completions", json=_request(stream=False))
    _expect(reply.status_code == 200, f"plain request: status {reply.status_code}: {reply.text[:200]}")
    body = reply.json()
    _expect(bool(body["choices"][0]["message"]["content"]), "plain request: no content")
    _expect(body["usage"]["completion_tokens"] == _TOKENS, f"plain request: usage is {body['usage']}")


async def check_stream(client: httpx.AsyncClient) -> None:
    """One streamed request.

    Raises:
        CheckFailed: an event is missing or wrong.
    """
    async with client.stream("POST", "/v1/chat/completions", json=_request(stream=True)) as reply:
        if reply.status_code != 200:
            text = (await reply.aread()).decode("utf-8", "replace")
            raise CheckFailed(f"streamed request: status {reply.status_code}: {text[:200]}")
        events = [line.removeprefix("data: ") async for line in reply.aiter_lines() if line.startswith("data: ")]
    _expect(events[-1:] == ["[DONE]"], "streamed request: the closing [DONE] is missing")
    chunks: list[dict[str, Any]] = [json.loads(event) for event in events[:-1]]
    choices = [chunk["choices"][0] for chunk in chunks if chunk.get("choices")]
    content = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    _expect(len(content) == _TOKENS, f"streamed request: {len(content)} tokens in place of {_TOKENS}")
    _expect(choices[-1]["finish_reason"] == "length", "streamed request: no finish reason")
    _expect([item["completion_tokens"] for item in usage] == [_TOKENS], f"streamed request: usage is {usage}")


def _request(*, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": _MODEL, "max_tokens": _TOKENS, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return {**body, "messages": [{"role": "user", "content": "Say something."}]}


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it is the condition itself
    if not holds:
        raise CheckFailed(otherwise)


def _leaves(group: BaseExceptionGroup[Any]) -> list[str]:
    """The messages of every exception in a group, however deep."""
    found: list[str] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [str(error) or type(error).__name__]
    return found
