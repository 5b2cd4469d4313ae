"""`appliance cert`: which certificates the server shows, what makes clients trust its own authority, a new one now."""

import argparse
import json
import socket
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from appliance.authority.interfaces import interfaces
from appliance.authority.issuer import Issuer, internal_authority, internal_pair
from appliance.cli.connect import url_of
from appliance.cli.trust import FILE, recipes
from appliance.config.check import split_listen
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.pem import Described, describe, pairs_of
from appliance.config.schema import Config, Server
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError

_EXIT = "Exit codes: 0 done, 2 a mistake in the call, or it cannot be done."
_NOT_INTERNAL = 'this is for `tls = "internal"` in [server]; certificates in files are renewed by whoever issued them'
_ROLES = {True: "authority", False: "server"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and what it can do."""
    cert = commands.add_parser(
        "cert",
        help="show and renew certificates, and say what makes clients trust them",
        description="The certificates of `server.tls`. No server has to run.",
        epilog=_EXIT,
    )
    actions = cert.add_subparsers(dest="action", metavar="show|trust|renew", required=True)
    show = actions.add_parser("show", help="say what the certificates are for, and until when", epilog=_EXIT)
    show.set_defaults(run=_show)
    trust = actions.add_parser("trust", help="say what each kind of client needs to trust this server", epilog=_EXIT)
    trust.add_argument("--url", help="root of the server as its clients reach it, such as https://gpubox.lan:8000")
    trust.set_defaults(run=_trust)
    renew = actions.add_parser("renew", help="issue the server's certificate anew, now", epilog=_EXIT)
    renew.add_argument(
        "--authority", action="store_true", help="make another authority as well; all clients have to trust it anew"
    )
    renew.set_defaults(run=_renew)
    for action in (show, trust, renew):
        action.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _show(args: argparse.Namespace) -> int:
    server = _config(args).server
    found = _certificates(server)
    if args.json:
        print(json.dumps({"certificates": [_row(file, one) for file, one in found]}, indent=2))
        return 0
    if not found:
        print('TLS is off. Next: write tls = "internal" into [server], then: systemctl restart appliance')
    now = time.clock_gettime(time.CLOCK_REALTIME)
    for file, one in found:
        print(f"{_ROLES[one.authority]}  {one.name}  ({file})")
        print(f"    {'may sign for' if one.authority else 'for'}  {', '.join(one.subjects) or 'no name at all'}")
        print(f"    valid until  {_day(one.not_after)}  ({(one.not_after - now) / 86400:.0f} days)")
        print(f"    SHA-256 fingerprint  {one.fingerprint}")
    if server.tls == "internal":
        print("\nNext: appliance cert trust")
    return 0


def _trust(args: argparse.Namespace) -> int:
    config = _config(args)
    if config.server.tls != "internal":
        raise OperatorError(_NOT_INTERNAL)
    url = args.url.rstrip("/") if args.url else url_of(config.server)
    authority = describe(_read(internal_authority(Path(config.server.state_dir)).cert))
    if args.json:
        row = {"url": f"{url}/ca.pem", "fingerprint": authority.fingerprint, "name": authority.name}
        print(json.dumps(row | {"recipes": [asdict(recipe) for recipe in recipes(url)]}, indent=2))
        return 0
    print(f"This server's own authority: {authority.name}, valid until {_day(authority.not_after)}")
    print(f"It can vouch for these and for nothing else: {', '.join(authority.subjects)}")
    print(f"SHA-256 fingerprint: {authority.fingerprint}")
    print("\nOn the client, get its certificate and compare the fingerprint:\n")
    print(f"    curl -ksSo {FILE} {url}/ca.pem")
    print(f"    openssl x509 -in {FILE} -noout -fingerprint -sha256")
    print("\nThen, for whatever is to trust it:")
    for recipe in recipes(url):
        print(f"\n{recipe.client}\n\n    {recipe.text}")
        if recipe.note:
            print(f"\n    {recipe.note}")
    return 0


def _renew(args: argparse.Namespace) -> int:
    server = _config(args).server
    if server.tls != "internal":
        raise OperatorError(_NOT_INTERNAL)
    host = split_listen(server.listen)[0]
    issuer = Issuer(
        Path(server.state_dir), server.names, socket.gethostname(), host, interfaces, lambda: time.time_ns() / 1e9
    )
    issuer.renew(authority=args.authority)
    if args.json:
        return _show(args)
    words = "a new authority and a new certificate" if args.authority else "a new certificate"
    print(f"Made {words}. A running server shows it within seconds.")
    if issuer.left_out():
        print(f"The authority may not sign for {', '.join(issuer.left_out())}: it was made before. With --authority a")
        print("new one is made that may, and all clients have to trust it anew.")
    print(f"Next: appliance cert {'trust' if args.authority else 'show'}")
    return 0


def _config(args: argparse.Namespace) -> Config:
    return load_config(Path(args.config), has_environment_keys=bool(environment_keys(process_environment())))


def _certificates(server: Server) -> list[tuple[str, Described]]:
    pairs = pairs_of(server.tls)
    if server.tls == "internal":
        state_dir = Path(server.state_dir)
        pairs = (internal_authority(state_dir), internal_pair(state_dir))
    return [(pair.cert, describe(_read(pair.cert))) for pair in pairs]


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise OperatorError(
            f"there is no {file} yet: the server makes it when it starts (or: appliance cert renew)"
        ) from None


def _row(file: str, one: Described) -> dict[str, object]:
    return {"file": file, "role": _ROLES[one.authority]} | asdict(one)


def _day(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()
