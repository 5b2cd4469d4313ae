"""How a command reaches the running server: on the socket in its state directory, or by URL with a key."""

import argparse
import socket
import ssl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from appliance.cli.misread import Asked
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import parse, read_text
from appliance.config.schema import Key, Server
from appliance.config.secrets import process_environment
from appliance.domain.http import VERSION
from appliance.errors import OperatorError
from appliance.sockets.private import reachable
from appliance.supervisor.state_dir import OPS

_URL = "http://127.0.0.1:8000"
_LONGEST = 3700.0  # seconds; loading a model takes what it takes


class NobodyError(OperatorError):
    """No server runs where one should."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which server."""
    parser.add_argument("--config", metavar="FILE", help=f"of a server on this machine; default {DEFAULT_CONFIG}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="of a server on this machine")
    parser.add_argument("--url", help=f"a server over the network; with --key-file alone {_URL}")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="for --url: holds a key with the scope admin; else APPLIANCE_KEY"
    )


def answers(args: argparse.Namespace) -> bool:
    """Whether there is a server to ask; who names one by its URL says so.

    Raises:
        OperatorError: there may be one, and we may not look.
    """
    return bool(args.url or args.key_file) or _knock(state_dir(args) / OPS)


def ask(args: argparse.Namespace, method: str, path: str, body: object = None) -> dict[str, Any]:
    """What the server answers, to a body as JSON where there is one.

    Raises:
        OperatorError: nothing answers, or the answer is an error.
    """
    with asked(args, method, path, body=body) as reply:
        return answered(reply)


@contextmanager
def asked(
    args: argparse.Namespace, method: str, path: str, *, body: object = None, silence: float = _LONGEST
) -> Iterator[httpx.Response]:
    """The reply, whose body is not read yet.

    Args:
        args: with the options of `add_options`.
        method: of the request.
        path: and query.
        body: what goes with it, as JSON; None for nothing.
        silence: seconds that the server may take for the next byte.

    Raises:
        OperatorError: nothing answers.
    """
    with _client(args) as (client, server):
        try:
            with client.stream(method, path, json=body, timeout=httpx.Timeout(10.0, read=silence)) as reply:
                version = reply.headers.get(VERSION, "")
                args.asked = Asked(f"{method} {path.partition('?')[0]}", server.name, version)
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
    nobody = reply.status_code == 404  # an engine says so too, in words of its own
    if not isinstance(answer, dict) or nobody or (reply.status_code >= 400 and "error" in answer):
        error = answer.get("error") if isinstance(answer, dict) else None
        told = error.get("message", "") if isinstance(error, dict) else ""
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
        url, key = url_and_key(args)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
            yield client, _Server(f"an appliance at {url}")
        return
    path = state_dir(args) / OPS
    nobody = (
        f"no appliance runs with the state directory {path.parent}. "
        "Start it, or say which one is meant: --config, --state-dir, or --url with --key-file."
    )
    if not _knock(path):
        raise NobodyError(nobody)
    with (
        reachable(path) as name,
        httpx.Client(transport=httpx.HTTPTransport(uds=name, trust_env=False), base_url="http://appliance") as client,
    ):
        yield client, _Server(f"the appliance of {path.parent}", nobody)


def _knock(path: Path) -> bool:
    """Whether somebody listens. Raises OperatorError where we are not let in; httpcore does not tell these apart."""
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
        return False
    return True


def url_and_key(args: argparse.Namespace) -> tuple[str, str]:
    """Where a server over the network is, and what opens it; "" where nothing was given.

    Raises:
        OperatorError: the key cannot be read.
    """
    return (args.url or _URL).rstrip("/"), _key(args)


def trusted() -> ssl.SSLContext:
    """Whom commands trust as a server."""
    return httpx.create_ssl_context(trust_env=False)


def _key(args: argparse.Namespace) -> str:
    if not args.key_file:
        return process_environment().get("APPLIANCE_KEY", "")
    try:
        return str(args.key_file.read_text().strip())
    except OSError as error:
        raise OperatorError(f"cannot read {args.key_file}: {error.strerror}") from error


def state_dir(args: argparse.Namespace) -> Path:
    """Where the server keeps its state.

    Raises:
        OperatorError: the configuration file cannot be read.
    """
    return Path(args.state_dir or setting(args, "state_dir"))


def setting(args: argparse.Namespace, name: str) -> str:
    """A text of `[server]`. A mistake elsewhere in the file, which is being edited, does not matter.

    Raises:
        OperatorError: the configuration file cannot be read.
    """
    server = tables(args).get("server", {})
    default = str(getattr(Server(), name))
    return str(server.get(name, default) or default) if isinstance(server, dict) else default


def sections(args: argparse.Namespace) -> tuple[Key, ...]:
    """The keys of the configuration file; none while it has mistakes.

    Raises:
        OperatorError: it cannot be read.
    """
    if not tables(args):
        return ()
    config, _ = parse(read_text(Path(args.config or DEFAULT_CONFIG)))
    return config.keys if config is not None else ()


def tables(args: argparse.Namespace) -> dict[str, Any]:
    """The configuration file as it is, unchecked; empty where none is named and the default one is not there.

    Raises:
        OperatorError: it cannot be read.
    """
    if not args.config and not Path(DEFAULT_CONFIG).exists():
        return {}
    file = Path(args.config or DEFAULT_CONFIG)
    try:
        return tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(
            f"{file} is not TOML: {error}. See `appliance check {file}`, or give --state-dir."
        ) from None
