"""`appliance serve`: run the appliance."""

import argparse
import os
import socket
import sys
from functools import partial
from pathlib import Path

import trio

from appliance import __version__
from appliance.config.file import DEFAULT_CONFIG, ConfigFile
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.guardrails.check import findings as guardrails
from appliance.observe.sink import configure
from appliance.serve import serve
from appliance.service.notify import manager_of
from appliance.takeover.channel import Channel
from appliance.takeover.taking import Taking
from appliance.upgrades import Origin


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run the appliance")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.add_argument(
        "--takeover", action="store_true", help="for `appliance upgrade`: take a running server's place"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until INT or TERM; 0 after a clean stop, 130 when interrupted before the server ran or after it ended."""
    if args.config == DEFAULT_CONFIG and not Path(DEFAULT_CONFIG).exists():
        raise OperatorError(
            f"there is no {DEFAULT_CONFIG}: name another file with --config, let `appliance install` make one, or try "
            "`appliance demo`"
        )
    if not args.takeover:
        return _serve(args, None)
    channel = _channel()
    taking = Taking(channel, __version__, managed=bool(manager_of(process_environment(), os.getpid()).address))
    try:
        return _serve(args, taking)
    except OperatorError as error:
        taking.refuse(str(error))
        raise


def _channel() -> Channel:
    """Our end of the conversation with the running server, which is our standard input.

    Raises:
        OperatorError: it is something else.
    """
    try:
        channel = Channel(socket.socket(fileno=os.dup(0)))
    except OSError as error:
        raise OperatorError("--takeover is for a server that `appliance upgrade` has started") from error
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    return channel


def _serve(args: argparse.Namespace, taking: Taking | None) -> int:
    environment = process_environment()
    keys = environment_keys(environment)
    file = ConfigFile(Path(args.config), environment, also=(guardrails,))
    config, known = file.fresh()
    sink = configure(
        config.server.log_format,
        sys.stderr,
        secrets=[*keys, *known.values()],
        journal=process_environment().get("JOURNAL_STREAM", ""),
    )
    file.mask = sink.mask
    code = 130
    try:
        trio.run(
            sink.around,
            partial(
                serve,
                config,
                api_keys=keys,
                credentials=known,
                file=file,
                manager=manager_of(environment, os.getpid()),
                dump=sys.stderr,
                log=sink.exchange,
                origin=Origin(Path(args.config).absolute(), environment),
                taking=taking,
            ),
        )
        code = 0
    except* KeyboardInterrupt:
        pass
    return code
