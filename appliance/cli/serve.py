"""`appliance serve`: run the appliance."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import trio

from appliance.config.file import ConfigFile
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.guardrails.check import findings as guardrails
from appliance.observe.sink import configure
from appliance.serve import serve
from appliance.service.notify import manager_of

DEFAULT_CONFIG = "/etc/appliance/appliance.toml"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run the appliance")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until INT or TERM; 0 after a clean stop, 130 when interrupted before the server ran or after it ended."""
    if args.config == DEFAULT_CONFIG and not Path(DEFAULT_CONFIG).exists():
        raise OperatorError(
            f"there is no {DEFAULT_CONFIG}: name another file with --config, let `appliance install` make one, or try "
            "`appliance demo`"
        )
    environment = process_environment()
    keys = environment_keys(environment)
    file = ConfigFile(Path(args.config), environment, also=(guardrails,))
    config, known = file.fresh()
    sink = configure(config.server.log_format, sys.stderr, secrets=[*keys, *known.values()])
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
            ),
        )
        code = 0
    except* KeyboardInterrupt:
        pass
    return code
