"""`appliance serve`: run the appliance."""

import argparse
import sys
from functools import partial
from pathlib import Path

import trio

from appliance.config.load import load_config
from appliance.config.secrets import backend_credential, environment_keys, process_environment
from appliance.observe.sink import configure
from appliance.serve import serve

DEFAULT_CONFIG = "/etc/appliance/appliance.toml"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run the appliance")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until INT or TERM; 0 after a clean stop, 130 when interrupted before the server ran or after it ended."""
    environment = process_environment()
    keys = environment_keys(environment)
    config = load_config(Path(args.config), has_environment_keys=bool(keys))
    credentials = {
        backend.name: secret for backend in config.backends if (secret := backend_credential(backend, environment))
    }
    sink = configure(config.server.log_format, sys.stderr, secrets=[*keys, *credentials.values()])
    code = 130
    try:
        trio.run(sink.around, partial(serve, config, api_keys=keys, credentials=credentials, log=sink.exchange))
        code = 0
    except* KeyboardInterrupt:
        pass
    return code
