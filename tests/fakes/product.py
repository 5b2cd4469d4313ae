"""The product as its user runs it: a process of its own, a configuration file, a key."""

import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.pem_files import Authority
from tests.fakes.program import PROGRAM, surroundings

KEY = "sk-test-canary-7f3a9c"
SCRIPTED = "[" + ", ".join(f'"{word}"' for word in (*PROGRAM, "_engine", "--socket", "{socket}"))
KEY_TABLE = f'[[keys]]\nname = "tester"\nhash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"\n'


def command(*flags: str) -> str:
    """The TOML of a command that runs the scripted engine."""
    return ", ".join([SCRIPTED, *(f'"{flag}"' for flag in flags)]) + "]"


def runtime(name: str, *flags: str, kinds: str = '["chat", "completion"]', extra: str = "") -> str:
    """The TOML of a scripted runtime."""
    return f'[[runtimes]]\nname = "{name}"\nengine = "command"\nkinds = {kinds}\ncommand = {command(*flags)}\n{extra}\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Product:
    """One running appliance."""

    def __init__(
        self,
        state: Path,
        tables: str,
        server: str = "",
        environment: dict[str, str] | None = None,
        *,
        http2: bool = False,
        prefix: tuple[str, ...] = (),
        internal: bool = False,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """With `http2` it speaks TLS, and clients that offer HTTP/2 get it: that is Quart as the door.

        With `internal` it speaks TLS with an authority of its own, which is trusted once it has made it.
        `prefix` is a command that runs the command that follows it, in its own place. `program` is what is tried.
        """
        self.command = (*prefix, *program)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        self.http2 = http2
        self.verify: ssl.SSLContext | bool = True
        self.authority: Path | None = None  # whom to trust, as a file
        if http2:
            authority = Authority(state)
            tls = authority.write("box", "127.0.0.1")
            self.url = self.url.replace("http:", "https:")
            self.verify = authority.client()
            self.authority = authority.as_file()
            server = f'{server}\nhttp2 = true\ntls = {{ cert = "{tls.cert}", key = "{tls.key}" }}\n'
        self.internal = internal
        if internal:
            self.url = self.url.replace("http:", "https:")
            self.authority = state / "s" / "tls" / "ca.pem"
            server = f'{server}\ntls = "internal"\n'
        self.config = state / "appliance.toml"
        self.config.write_text(
            f'[server]\nlisten = "127.0.0.1:{self.port}"\nstate_dir = "{state / "s"}"\nlog_format = "json"\n{server}\n'
            f"{KEY_TABLE}\n{tables}"
        )
        self.log = state / "log"
        self.environment = os.environ | surroundings(state) | (environment or {})
        self.process: subprocess.Popen[bytes]

    def start(self, *, wait: float = 60) -> None:
        self.told = False
        argv = [*self.command, "serve", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=self.environment)
        if self.internal and self.authority:
            self.until(self.authority.exists, wait)
            self.verify = ssl.create_default_context(cafile=str(self.authority))
        self.until(lambda: self.get("/healthz").status_code == 200, wait)

    def until(self, condition: "Iterator[bool] | object", seconds: float) -> None:
        """Wait for a condition on the running product; its log is the failure's message."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if condition():  # type: ignore[operator]
                    return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s\n{self.log.read_text()[-4000:]}")

    def said(self, words: str, seconds: float = 20) -> None:
        """Wait for words in the log, which a task of its own writes a moment after the fact."""
        self.until(lambda: words in self.log.read_text(), seconds)

    def written(self) -> str:
        """All that the log says about what has happened so far: an order that cannot be met is its last line."""
        mark = f"mark-{uuid.uuid4().hex}"
        self.ops("POST", f"/load/{mark}")
        self.said(mark)
        lines = self.log.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if '"target": "mark-' not in line)

    def ready(self, *models: str, wait: float = 60) -> None:
        def all_ready() -> bool:
            report = self.get("/readyz").json()["models"]
            return all(report[model]["ready"] for model in models)

        self.until(all_ready, wait)

    def engines(self) -> list[int]:
        """Every process that carries this product's mark."""
        mark = b"APPLIANCE_INSTANCE=" + (self.state / "s" / "instance").read_bytes().strip()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def terminate(self) -> None:
        """Send TERM once: a second one would hurry it, or meet an interpreter that is already on its way out."""
        if not self.told and self.process.poll() is None:
            self.told = True
            self.process.send_signal(signal.SIGTERM)

    def stop(self, wait: float = 30) -> int:
        self.terminate()
        return self.process.wait(wait)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    def client(self) -> httpx.Client:
        """As the SDKs want it."""
        return httpx.Client(verify=self.verify, http2=self.http2, timeout=60)

    def get(self, path: str) -> httpx.Response:
        with self.client() as client:
            return client.get(f"{self.url}{path}")

    def post(self, path: str, body: object, **kwargs: object) -> httpx.Response:
        with self.client() as client:
            return client.post(f"{self.url}{path}", json=body, headers=self.headers, **kwargs)  # type: ignore[arg-type]

    def ops(self, method: str, path: str, body: object = None) -> httpx.Response:
        """As the operator on the machine itself."""
        transport = httpx.HTTPTransport(uds=str(self.state / "s" / "ops.sock"))
        with httpx.Client(transport=transport, base_url="http://appliance/ops/v1", timeout=120) as client:
            return client.request(method, path, json=body)

    def row(self, replica: str) -> dict[str, Any]:
        """What the operator sees of a replica."""
        rows: list[dict[str, Any]] = self.ops("GET", "/state").json()["replicas"]
        return next(row for row in rows if row["replica"] == replica)

    def pids(self, replica: str) -> list[int]:
        """Processes of one replica, the oldest first."""
        mark = f"APPLIANCE_REPLICA={replica}\0".encode()
        found = []
        for pid in self.engines():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return sorted(found)

    def socket_of(self, runtime: str) -> str:
        """Where the scripted engine of a runtime listens."""
        mark = f"APPLIANCE_REPLICA={runtime}".encode()
        for pid in self.engines():
            with contextlib.suppress(OSError, ValueError):
                if mark in (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0"):
                    argv = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().split("\0")
                    return argv[argv.index("--socket") + 1]
        raise AssertionError(f"no engine of {runtime}")

    def last_request(self, runtime: str) -> dict[str, Any]:
        """What the scripted engine of a runtime was asked last, with its path, headers and body."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.socket_of(runtime))) as engine:
            asked: dict[str, Any] = engine.get("http://x/_state").json()["last_request"]
            return asked

    def metrics(self) -> str:
        return self.get("/metrics").text


@contextlib.contextmanager
def product(
    state: Path,
    tables: str,
    server: str = "",
    environment: dict[str, str] | None = None,
    *,
    http2: bool = False,
    prefix: tuple[str, ...] = (),
    internal: bool = False,
    program: tuple[str, ...] = PROGRAM,
) -> Iterator[Product]:
    """A started product; afterwards it is stopped and none of its processes is left."""
    running = Product(
        state, tables, server, environment, http2=http2, prefix=prefix, internal=internal, program=program
    )
    try:
        running.start()
        yield running
    finally:
        try:
            code = running.stop()
        except subprocess.TimeoutExpired:
            running.process.kill()
            code = running.process.wait()
        left = running.engines()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert code == 0, f"exit code {code}\n{running.log.read_text()[-4000:]}"
    assert left == []
