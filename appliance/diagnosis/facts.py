"""What the machine says. Everything that may hang has a deadline, and everything that may fail is a fact, too."""

import errno
import os
import platform
import resource
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from appliance.authority.issuer import internal_authority, internal_pair
from appliance.config.check import split_listen
from appliance.config.load import inspect, read_text
from appliance.config.pem import BadPairError, Pair, pairs_of, read_pair
from appliance.config.schema import Config, Runtime
from appliance.diagnosis.checks import BackendFact, DiskFact, EngineFact, Facts
from appliance.domain.hosts import is_host_name
from appliance.domain.targets import Address
from appliance.errors import OperatorError
from appliance.gpus.reader import reader_of
from appliance.guardrails.check import findings as guardrails
from appliance.observe.host import answered
from appliance.supervisor import cgroup, environment
from appliance.supervisor.state_dir import OPS, may_be_closed, open_to_others

_PATIENCE = 5.0  # seconds for a program, a disk or a host to answer
_UNIT = "appliance.service"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to look with: the configuration's file and the environment."""

    config: Path
    environ: Mapping[str, str]
    has_environment_keys: bool


async def gather(told: Told) -> Facts:
    """Look at everything; takes a few seconds, whatever hangs."""
    config, problems = _configuration(told)
    gpu_trouble, gpus = await _gpus(config)
    port_trouble = _port(config)
    service = await _service()
    pairs, now = list(_pairs(config)), time.clock_gettime(time.CLOCK_REALTIME)
    return Facts(
        config=str(told.config),
        problems=problems,
        glibc=" ".join(platform.libc_ver()).removeprefix("glibc").strip(),
        open_files=_number(service.get("LimitNOFILE")) or resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        cgroup=service.get("Delegate") == "yes" or cgroup.home() is not None,
        synchronised=await _synchronised(),
        gpu_trouble=gpu_trouble,
        gpus=gpus,
        engines=[await _engine(runtime) for runtime in config.runtimes],
        backends=[await _backend(item.name, item.url) for item in config.backends],
        disks=[await _disk(purpose, path) for purpose, path in _places(config)],
        port_trouble=port_trouble,
        served=_served(Path(config.server.state_dir) / OPS, taken=bool(port_trouble)),
        state=config.server.state_dir,
        state_trouble=_state(Path(config.server.state_dir)),
        state_open=_open(Path(config.server.state_dir)),
        config_missing=not told.config.exists(),
        config_open=_open_to_all(told.config),
        certificates=[(pair.tls.cert, pair.not_after - now) for pair in pairs],
        unnamed=_unnamed(config, pairs),
        proxies=[name for name in PROXIES if told.environ.get(name)],
    )


def _configuration(told: Told) -> tuple[Config, Sequence[str]]:
    try:
        text = read_text(told.config)
        config, problems = inspect(text, has_environment_keys=told.has_environment_keys, also=(guardrails,))
    except OperatorError as error:
        return Config(), [str(error)]
    return config or Config(), [problem.render(str(told.config)) for problem in problems]


async def _gpus(config: Config) -> tuple[str, Sequence[tuple[str, str]]]:
    reader = reader_of(config.server.gpu_file, environment.inherited({}), lambda _gpus, _timeouts: None)
    if reader is None:
        return "", ()
    try:
        seen = await reader.read()
    finally:
        with trio.CancelScope(shield=True):
            await reader.aclose()
    return reader.trouble, [(gpu.name, gpu.fault) for gpu in seen.gpus]


async def _engine(runtime: Runtime) -> EngineFact:
    model = _model(Path(runtime.model)) if runtime.model.startswith("/") else None
    try:
        program, extra = environment.find_binary(runtime)
    except OperatorError as error:
        return EngineFact(runtime.name, trouble=str(error), model_trouble=model)
    version = await _said([program, "--version"], environment.inherited(extra)) if runtime.engine != "command" else ""
    return EngineFact(runtime.name, program, version=version, model_trouble=model)


def _model(path: Path) -> str:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with path.open("rb") as file:
                file.read(1)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


async def _said(command: Sequence[str], environ: Mapping[str, str]) -> str:
    return next(iter(await _lines(command, environ)), "")[:100]


async def _lines(command: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """What a program prints; nothing where it is not there, or does not end."""

    def ask() -> list[str]:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        return (done.stdout + done.stderr).strip().splitlines()

    with suppress(OSError, subprocess.TimeoutExpired):
        return await trio.to_thread.run_sync(ask)
    return []


async def _synchronised() -> bool | None:
    said = await _said(["timedatectl", "show", "--property=NTPSynchronized", "--value"], environment.inherited({}))
    return {"yes": True, "no": False}.get(said)


async def _service() -> Mapping[str, str]:
    """What the service manager gives to our service, which is more than it gives to whoever runs a command.

    Empty where there is no such service, or no service manager.
    """
    command = ["systemctl", "show", _UNIT, "--property=LoadState,Delegate,LimitNOFILE"]
    said = dict(line.partition("=")[::2] for line in await _lines(command, environment.inherited({})))
    return said if said.get("LoadState") == "loaded" else {}


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


async def _backend(name: str, url: str) -> BackendFact:
    try:
        address = Address.from_url(url)
        with trio.fail_after(_PATIENCE):
            stream = await trio.open_tcp_stream(address.host, address.port)
            await stream.aclose()
    except trio.TooSlowError:
        return BackendFact(name, f"no answer within {_PATIENCE:g} s")
    except (OSError, ValueError) as error:
        return BackendFact(name, getattr(error, "strerror", None) or str(error))
    return BackendFact(name)


def _places(config: Config) -> Iterator[tuple[str, str]]:
    yield "state", config.server.state_dir
    models = {str(Path(runtime.model).parent) for runtime in config.runtimes if runtime.model.startswith("/")}
    yield from (("models", path) for path in sorted(models))


async def _disk(purpose: str, path: str) -> DiskFact:
    try:
        seen = await answered(path, trio.CapacityLimiter(1))
    except OSError as error:
        return DiskFact(purpose, path, None, trouble=error.strerror or str(error))
    return DiskFact(purpose, path, seen[0] if seen else None)


def _port(config: Config) -> str:
    try:
        host, port = split_listen(config.server.listen)
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        return f"{config.server.listen}: {why}"
    except ValueError as error:
        return str(error)
    return ""


def _served(path: Path, *, taken: bool) -> bool:
    """Whether a server of ours takes orders there; a socket that a killed one has left does not count."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect(str(path))
    except PermissionError:  # only its owner may ask, and then it is most likely ours
        return taken
    except OSError:
        return False
    return True


def _state(path: Path) -> str:
    place = path
    while not os.path.exists(place) and place != place.parent:  # noqa: PTH110 - says no where Path raises: we may not look
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return f"{path} cannot be written by us"
    try:
        if place == path and (trouble := open_to_others(path)) and not may_be_closed(path):
            return f"{trouble} and is not the appliance's alone"
    except OSError as error:
        return f"{path} cannot be looked into: {error.strerror}"
    return ""


def _open(path: Path) -> str:
    with suppress(OSError):
        return open_to_others(path)
    return ""


def _open_to_all(path: Path) -> bool:
    with suppress(OSError):
        return bool(path.stat().st_mode & stat.S_IROTH)
    return False


def _pairs(config: Config) -> Iterator[Pair]:
    tls = pairs_of(config.server.tls)
    if config.server.tls == "internal":
        state_dir = Path(config.server.state_dir)
        tls = (internal_pair(state_dir), internal_authority(state_dir))
    for files in tls:
        # What is wrong with the files is told with the configuration; an internal authority is made by the first start.
        with suppress(BadPairError):
            yield read_pair(files, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def _unnamed(config: Config, pairs: Sequence[Pair]) -> Sequence[str]:
    """Host names of the configuration that no certificate is for."""
    held = {name for pair in pairs for name in pair.names}
    names = [name.lower().rstrip(".") for name in config.server.names if is_host_name(name.rstrip("."))]
    return [name for name in names if pairs and name not in held and f"*.{name.partition('.')[2]}" not in held]
