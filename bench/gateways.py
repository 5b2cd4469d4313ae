"""Who is compared, and how each is configured: for this work as well as its manual knows."""

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.machine import CACHE, GATEWAY_CPU, ROOT, free_port
from bench.program import KEY, NotMeasuredError, Program, find, running, wait_for


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is to listen, whom it is to ask, and a folder of its own."""

    port: int
    upstream: int
    folder: Path


class Gateway:
    """Somebody who can stand between clients and a model server; this one is nobody."""

    name = "direct"

    def missing(self) -> str:
        """Why it cannot be measured here; "" if it can. May install it."""
        return ""

    def version(self) -> str:
        """Its version, as it says itself."""
        return ""

    def command(self, place: Place) -> list[str]:  # noqa: ARG002
        """The command that starts it; writes its configuration. Empty: there is no program to start."""
        return []

    def fall_back(self) -> str:
        """After a start that failed: configure less the next time; what is gone, or "" if nothing can go."""
        return ""


def _output(*command: str) -> str:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (result.stdout.strip().splitlines() or ["unknown"])[0]


_LIMITS = "limits = { requests_per_minute = 100000000, tokens_per_minute = 100000000000, concurrent = 100000 }"


class Appliance(Gateway):
    """Ours, with everything that it does in service: a key, its limits, metrics, one log line for each exchange."""

    name = "appliance"

    def __init__(self, serve: str = "", extra_models: int = 0, more: str = "", engine: str = "openai") -> None:
        self.serve = serve  # another build: its command line, with {config}
        self.engine = engine  # what it takes the mock for
        self.extra_models = extra_models  # more names for the same model, for more metrics
        self.more = more  # tables of the configuration
        self.limits = True

    def version(self) -> str:
        """Its version, as it says itself."""
        return self.serve or _output(sys.executable, "-m", "appliance", "version")

    def command(self, place: Place) -> list[str]:
        """The command that starts it; writes its configuration."""
        config = place.folder / "appliance.toml"
        config.write_text(
            f"""
[server]
listen = "127.0.0.1:{place.port}"
state_dir = "{place.folder}/state"
log_format = "json"

{self.tables_of(place)}""",
            encoding="utf-8",
        )
        serve = self.serve or f"{ROOT}/.venv/bin/appliance serve --config {{config}}"
        return [word.replace("{config}", str(config)) for word in shlex.split(serve)]

    def tables_of(self, place: Place) -> str:
        """The configuration less its place."""
        names = ["mock", *(f"mock-{number}" for number in range(self.extra_models))]
        return (
            f"""[[keys]]
name = "bench"
hash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
{_LIMITS if self.limits else ""}

[[backends]]
name = "mock"
engine = "{self.engine}"
url = "http://127.0.0.1:{place.upstream}"
max_connections = 4096
"""
            + "".join(f'\n[[models]]\nname = "{name}"\nkind = "chat"\ntargets = ["mock/mock"]\n' for name in names)
            + self.more
        )

    def fall_back(self) -> str:
        """Do without limits: they are not in every version."""
        gone, self.limits = "the key's limits" if self.limits else "", False
        return gone


class VllmRouter(Gateway):
    """The router of the vLLM project, in Rust, from PyPI."""

    name = "vllm-router"

    _home = CACHE / "vllm-router"

    def missing(self) -> str:
        """Why it cannot be measured here."""
        if (self._home / "bin" / "vllm-router").exists():
            return ""
        print("installing vllm-router from PyPI into .bench/", flush=True)
        pip = (self._home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        try:
            subprocess.run([sys.executable, "-m", "venv", self._home], check=True)
            subprocess.run([*pip, "vllm-router"], check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            return "it could not be installed from PyPI"
        return ""

    def version(self) -> str:
        """Its version, as it says itself."""
        ask = "from importlib.metadata import version; print(version('vllm-router'))"
        return _output(str(self._home / "bin" / "python"), "-c", ask)

    def command(self, place: Place) -> list[str]:
        """The command that starts it; writes its configuration."""
        return [
            *(str(self._home / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(place.port)),
            *("--worker-urls", f"http://127.0.0.1:{place.upstream}", "--policy", "round_robin"),
            *("--worker-startup-check-interval", "1", "--log-level", "warning", "--max-concurrent-requests", "16384"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
        ]


class Nginx(Gateway):
    """The well-known proxy: it forwards, and knows neither keys nor tokens."""

    name = "nginx"

    def missing(self) -> str:
        """Why it cannot be measured here."""
        return "" if find("nginx") else "it is not installed (apt-get install nginx)"

    def version(self) -> str:
        """Its version, as it says itself."""
        return _output(find("nginx"), "-v").rpartition("/")[2]

    def command(self, place: Place) -> list[str]:
        """The command that starts it; writes its configuration."""
        folder = place.folder
        temporary = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        config = folder / "nginx.conf"
        config.write_text(
            f"""
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 18000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body; {temporary}
    upstream mock {{ server 127.0.0.1:{place.upstream}; keepalive 4096; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{place.port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
""",
            encoding="utf-8",
        )
        return [find("nginx"), "-c", str(config), "-e", f"{folder}/nginx.err"]


class Haproxy(Gateway):
    """The other well-known proxy."""

    name = "haproxy"

    def missing(self) -> str:
        """Why it cannot be measured here."""
        return "" if find("haproxy") else "it is not installed (apt-get install haproxy)"

    def version(self) -> str:
        """Its version, as it says itself."""
        return _output(find("haproxy"), "-v").split()[2]

    def command(self, place: Place) -> list[str]:
        """The command that starts it; writes its configuration."""
        config = place.folder / "haproxy.cfg"
        config.write_text(
            f"""
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
frontend clients
    bind 127.0.0.1:{place.port} backlog 4096
    default_backend models
backend models
    http-reuse always
    server mock 127.0.0.1:{place.upstream}
""",
            encoding="utf-8",
        )
        return [find("haproxy"), "-f", str(config)]


class Bare(Gateway):
    """The least that a proxy in Trio can do; see `bench.bare`."""

    name = "bare"

    def version(self) -> str:
        """That of what it is made of."""
        return f"trio {metadata.version('trio')}"

    def command(self, place: Place) -> list[str]:
        """The command that starts it."""
        return [sys.executable, str(ROOT / "bench" / "bare.py"), str(place.port), str(place.upstream)]


def everybody(serve: str) -> list[Gateway]:
    """All gateways, ours first, nobody last; `serve` is another build of ours, or ""."""
    return [Appliance(serve=serve), VllmRouter(), Nginx(), Haproxy(), Bare(), Gateway()]


@contextmanager
def standing(gateway: Gateway, upstream: int, folder: Path) -> Iterator[tuple[int, Program | None]]:
    """A gateway that answers, for as long as the block runs: its port and its program.

    Raises:
        NotMeasuredError: also with less configuration, where there is less.
    """
    while True:
        place = Place(free_port(), upstream, folder)
        command = gateway.command(place)
        if not command:
            yield upstream, None
            return
        with running(GATEWAY_CPU, command, folder / f"{gateway.name}.log") as program:
            try:
                wait_for(program, place.port)
            except NotMeasuredError as error:
                gone = gateway.fall_back()
                if not gone:
                    raise NotMeasuredError(f"{gateway.name} did not start:\n{error}") from None
                print(f"  {gateway.name} did not start with {gone}: measured without. It said:\n{error}")
                continue
            yield place.port, program
            return
