"""How a command reaches the running server: on the socket in its state directory, or by URL with a key."""

import argparse
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from appliance.cli.serve import DEFAULT_CONFIG
from appliance.config.load import read_text
from appliance.config.schema import Server
from appliance.config.secrets import process_environment
from appliance.errors import OperatorError
from appliance.sockets.private import reachable
from appliance.supervisor.state_dir import OPS

_URL = "http://127.0.0.1:8000"
_LONGEST = 3700.0  # seconds; loading a model takes what it takes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which server."""
    parser.add_argument("--config", metavar="FILE", help=f"of a server on this machine; default {DEFAULT_CONFIG}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="of a server on this machine")
    parser.add_argument("--url", help=f"a server over the network; with --key-file alone {_URL}")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="for --url: holds a key with the scope admin; else APPLIANCE_KEY"
    )


def ask(args: argparse.Namespace, method: str, path: str) -> dict[str, Any]:
    """What the server answers.

    Raises:
        OperatorError: nothing answers, or the answer is an error.
    """
    with asked(args, method, path) as reply:
        return answered(reply)


@contextmanager
def asked(args: argparse.Namespace, method: str, path: str, *, silence: float = _LONGEST) -> Iterator[httpx.Response]:
    """The reply, whose body is not read yet.

    Args:
        args: with the options of `add_options`.
        method: of the request.
        path: and query.
        silence: seconds that the server may take for the next byte.

    Raises:
        OperatorError: nothing answers.
    """
    with _client(args) as (client, server):
        try:
            with client.stream(method, path, timeout=httpx.Timeout(10.0, read=silence)) as reply:
                yield reply
        except httpx.ConnectError as error:
            raise OperatorError(
                f"{server.nobody or f'no answer from {server.name}: {error}. Is it running?'}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OperatorError(f"no answer from {server.name}: {error}. Is it running?") from error


def answered(reply: httpx.Response) -> dict[str, Any]:
    """The object in a reply.

    Raises:
        OperatorError: the server refuses; the text is its own.
    """
    reply.read()
    try:
        answer = reply.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or (reply.status_code >= 400 and "error" in answer):
        told = answer.get("error", {}).get("message", "") if isinstance(answer, dict) else ""
        hint = " Give a key with the scope admin by --key-file." if reply.status_code in (401, 403) else ""
        raise OperatorError(f"{told or f'{reply.url} is no appliance: status {reply.status_code}'}{hint}")
    return answer


@dataclass(frozen=True, slots=True)
class _Server:
    """A server in words: its name, and what to say when nobody listens where it should, if that is known."""

    name: str
    nobody: str = ""


@contextmanager
def _client(args: argparse.Namespace) -> Iterator[tuple[httpx.Client, _Server]]:
    if args.url or args.key_file:
        url = (args.url or _URL).rstrip("/")
        key = _key(args)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
            yield client, _Server(f"an appliance at {url}")
        return
    path = _state_dir(args) / OPS
    nobody = (
        f"no appliance runs with the state directory {path.parent}. "
        "Start it, or say which one is meant: --config, --state-dir, or --url with --key-file."
    )
    _knock(path, nobody)
    with (
        reachable(path) as name,
        httpx.Client(transport=httpx.HTTPTransport(uds=name, trust_env=False), base_url="http://appliance") as client,
    ):
        yield client, _Server(f"the appliance of {path.parent}", nobody)


def _knock(path: Path, nobody: str) -> None:
    """See whether somebody listens and lets us in; httpcore does not tell these apart."""
    try:
        with reachable(path) as name, socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10.0)
            probe.connect(name)
    except PermissionError:
        raise OperatorError(
            f"{path} is for the appliance's own user and root. Run this as one of them (sudo), "
            "or give --url and --key-file."
        ) from None
    except OSError:
        raise OperatorError(nobody) from None


def _key(args: argparse.Namespace) -> str:
    if not args.key_file:
        return process_environment().get("APPLIANCE_KEY", "")
    try:
        return str(args.key_file.read_text().strip())
    except OSError as error:
        raise OperatorError(f"cannot read {args.key_file}: {error.strerror}") from error


def _state_dir(args: argparse.Namespace) -> Path:
    """Where the server keeps its state. A mistake elsewhere in the file, which is being edited, does not matter."""
    if args.state_dir:
        return Path(args.state_dir)
    if not args.config and not Path(DEFAULT_CONFIG).exists():
        return Path(Server().state_dir)
    file = Path(args.config or DEFAULT_CONFIG)
    try:
        server = tomllib.loads(read_text(file)).get("server", {})
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(
            f"{file} is not TOML: {error}. See `appliance check {file}`, or give --state-dir."
        ) from None
    return Path(str(server.get("state_dir") or Server().state_dir) if isinstance(server, dict) else Server().state_dir)
