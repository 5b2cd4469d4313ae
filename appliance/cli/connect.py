"""`appliance connect CLIENT`: what to paste so that a client uses this server."""

import argparse
import json
import socket
from dataclasses import asdict
from pathlib import Path

from appliance.config.address import root_url
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.schema import Config, Server
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.recipes import KEY, RECIPES, Recipe

_NO_CONFIG = f"pass --url and --model, or --config FILE (default {DEFAULT_CONFIG})"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "connect",
        help="say how to point a client at this server",
        description="What to paste into a client, or all clients where none is named. Starts and asks nothing.",
        epilog=f"The key is never printed: clients read it from {KEY}. Exit codes: 0 done, 2 a mistake in the call.",
    )
    parser.add_argument("client", nargs="?", metavar="CLIENT", help=", ".join(RECIPES))
    parser.add_argument("--url", help="root of the server as its clients reach it, such as http://gpubox.lan:8000")
    parser.add_argument("--model", help="what to ask for; else the default one of the configuration, or its first")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what to paste; 0.

    Raises:
        OperatorError: there is no such client, or nothing says where the server is or which model.
    """
    if args.client is None:
        return _list(as_json=args.json)
    recipe = RECIPES.get(args.client)
    if recipe is None:
        raise OperatorError(f'no recipe for "{args.client}"; there are: {", ".join(RECIPES)}')
    config = _config(args) if not (args.url and args.model) else None
    url = _root(args.url) if args.url else _url(config)
    model = args.model or _model(config)
    if args.json:
        parts = [asdict(part) for part in recipe.parts(url, model)]
        print(json.dumps({"client": args.client, "url": url, "model": model, "key": KEY, "parts": parts}, indent=2))
    else:
        print(_told(recipe, url, model))
    return 0


def _list(*, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"clients": {name: recipe.title for name, recipe in RECIPES.items()}}, indent=2))
    else:
        width = max(map(len, RECIPES))
        print("\n".join(f"{name.ljust(width)}  {recipe.title}" for name, recipe in RECIPES.items()))
        print("\nNext: appliance connect CLIENT")
    return 0


def _told(recipe: Recipe, url: str, model: str) -> str:
    first = f"Put your key into {KEY}: read -rs {KEY} && export {KEY}. Without one: appliance keys create NAME."
    blocks = [f"{recipe.title}, with the model {model} of {url}", first]
    blocks += [f"Into {part.about}:\n\n{part.text}" for part in recipe.parts(url, model)]
    if url.startswith("https:"):
        trust = "export SSL_CERT_FILE=ca.pem NODE_EXTRA_CA_CERTS=ca.pem"
        blocks.append(
            "If the certificate is not of a public authority, clients need the authority's own; `appliance cert trust` "
            f"has more where that is the server's:\n\n{trust}"
        )
    return "\n\n".join(blocks)


def _config(args: argparse.Namespace) -> Config:
    if args.config == DEFAULT_CONFIG and not Path(args.config).exists():
        raise OperatorError(f"there is no {DEFAULT_CONFIG}: {_NO_CONFIG}")
    return load_config(Path(args.config), has_environment_keys=bool(environment_keys(process_environment())))


def _root(url: str) -> str:
    """A root URL, also from one that ends in /v1; an address alone is taken as http."""
    url = url if "://" in url else f"http://{url}"
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _url(config: Config | None) -> str:
    if config is None:
        raise OperatorError(f"nothing says where the server is: {_NO_CONFIG}")
    return url_of(config.server)


def url_of(server: Server) -> str:
    """The root of a server as others on the network most likely reach it."""
    return root_url(server, socket.gethostname())


def _model(config: Config | None) -> str:
    """The default model, else the first that chats, in the order of the file."""
    if config is None:
        raise OperatorError(f"nothing says which model: {_NO_CONFIG}")
    active = [model for model in config.models if model.active]
    named = [model.name for model in sorted(active, key=lambda model: not model.default) if model.kind in {"chat", ""}]
    taken = {target for model in config.models for target in model.targets}
    own = [row.name for row in config.runtimes if "chat" in row.kinds and row.name not in taken]
    if not named and not own:
        raise OperatorError("the configuration has no model that chats: pass --model NAME; GET /v1/models lists all")
    return [*named, *own][0]
