"""From facts to findings. Pure; `docs/doctor.md` has every id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Grade = Literal["ok", "warning", "error"]
GIB = 2**30
_FEW_FILES = 4096  # open files: a client and an engine's connection for each stream
_LITTLE_DISK = 10 * GIB
_SOON = 14 * 86400.0  # seconds
_RENEW = "renew it (appliance cert renew, where it is ours); a renewed file is read without a restart"


@dataclass(frozen=True, slots=True)
class EngineFact:
    """One runtime's engine and model.

    Attributes:
        trouble: why its program was not found; "" when it was.
        version: the first line that it says about itself; "" when it says nothing.
        model_trouble: why its model cannot be read; "" when it can, None where it names no file.
    """

    runtime: str
    program: str = ""
    trouble: str = ""
    version: str = ""
    model_trouble: str | None = ""


@dataclass(frozen=True, slots=True)
class BackendFact:
    """One backend: why it cannot be reached, or "" when it answers."""

    name: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DiskFact:
    """A disk: what it is for, and bytes free; None where it does not answer, or why it cannot be asked."""

    purpose: str
    path: str
    free: float | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the machine. None is what could not be found out.

    Attributes:
        config: the file.
        problems: of the configuration, a line each.
        open_files: the limit.
        cgroup: a cgroup of version 2 is ours to divide.
        synchronised: the clock follows others.
        gpu_trouble: why the driver gives no answer; "" where it does, or there is none.
        gpus: name and fault of each, or "".
        port_trouble: why the address of the configuration cannot be used; "" when it can.
        served: a server of ours has it.
        state: the state directory.
        state_trouble: why it cannot be used; "" when it can.
        state_open: that it is open to others, in words; "" when it is not.
        config_missing: there is no configuration yet.
        config_open: everybody may read the configuration.
        certificates: seconds left, by file.
        unnamed: host names of the configuration that none of the certificates is for.
        proxies: variables that send requests to a proxy, and not to where they are meant for.
    """

    config: str = ""
    problems: Sequence[str] = ()
    glibc: str = ""
    memory: int | None = None
    open_files: int = 0
    cgroup: bool = False
    synchronised: bool | None = None
    gpu_trouble: str = ""
    gpus: Sequence[tuple[str, str]] = ()
    engines: Sequence[EngineFact] = ()
    backends: Sequence[BackendFact] = ()
    disks: Sequence[DiskFact] = ()
    port_trouble: str = ""
    served: bool = False
    state: str = ""
    state_trouble: str = ""
    state_open: str = ""
    config_missing: bool = False
    config_open: bool = False
    certificates: Sequence[tuple[str, float]] = ()
    unnamed: Sequence[str] = ()
    proxies: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        id: never changes; a heading of docs/doctor.md.
        grade: "error" keeps something from working.
        text: what was seen.
        fix: what to do; "" when it is well.
    """

    id: str
    grade: Grade
    text: str
    fix: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Every check, in the order in which they are shown."""
    return [
        *_host(facts),
        *_gpus(facts),
        *_engines(facts),
        *_network(facts),
        *_files(facts),
    ]


def worst(findings: Sequence[Finding]) -> Grade:
    """The grade of all of them together."""
    grades = {finding.grade for finding in findings}
    return "error" if "error" in grades else "warning" if "warning" in grades else "ok"


def _host(facts: Facts) -> Iterator[Finding]:
    yield Finding("host.glibc", "ok", f"glibc {facts.glibc or 'unknown'}")
    if facts.open_files < _FEW_FILES:
        fix = "raise it: LimitNOFILE=1048576 in the unit, or ulimit -n"
        yield Finding("host.open-files", "warning", f"at most {facts.open_files} open files", fix)
    else:
        yield Finding("host.open-files", "ok", f"up to {facts.open_files} open files")
    if facts.cgroup:
        yield Finding("host.cgroup", "ok", "engines get cgroups of their own")
    else:
        words = "no cgroup of version 2 is ours: engines are still ended whole, but less surely"
        yield Finding("host.cgroup", "warning", words, "run under systemd with Delegate=yes (appliance install)")
    if facts.synchronised is False:
        fix = "switch time synchronisation on: timedatectl set-ntp true"
        yield Finding(
            "host.clock", "warning", "the clock is not synchronised: quotas, certificates and logs need it", fix
        )
    else:
        yield Finding(
            "host.clock",
            "ok",
            "the clock is synchronised" if facts.synchronised else "nothing here says whether the clock is right",
        )
    for disk in facts.disks:
        name = f"{disk.purpose} ({disk.path})"
        if disk.trouble:
            fix = "run this as the appliance's user or as root" if "denied" in disk.trouble else "look at the mount"
            yield Finding("host.disk", "warning", f"the disk for {name} cannot be asked: {disk.trouble}", fix)
        elif disk.free is None:
            yield Finding(
                "host.disk", "error", f"the disk for {name} does not answer", "look at the mount and its server"
            )
        elif disk.free < _LITTLE_DISK:
            words = f"{disk.free / GIB:.1f} GiB free for {name}"
            yield Finding("host.disk", "warning", words, "make room: usage is not recorded on a full disk")
        else:
            yield Finding("host.disk", "ok", f"{disk.free / GIB:.0f} GiB free for {name}")


def _gpus(facts: Facts) -> Iterator[Finding]:
    if facts.gpu_trouble:
        fix = "run nvidia-smi; where that hangs, too, restart the machine"
        yield Finding("gpu.driver", "error", f"the GPU driver gives no answer: {facts.gpu_trouble}", fix)
    elif not facts.gpus:
        yield Finding("gpu.driver", "ok", "no GPU here: models run on the CPU")
    for index, (name, fault) in enumerate(facts.gpus):
        if fault:
            fix = "reset the GPU or restart the machine; when it comes back, have it replaced"
            yield Finding("gpu.fault", "error", f"GPU {index} ({name}): {fault}", fix)
        else:
            yield Finding("gpu.fault", "ok", f"GPU {index} ({name}) has no fault")


def _engines(facts: Facts) -> Iterator[Finding]:
    for engine in facts.engines:
        name = f'runtime "{engine.runtime}"'
        if engine.trouble:
            yield Finding("engine.program", "error", engine.trouble, "install it, or correct `binary`")
        else:
            yield Finding("engine.program", "ok", f"{name}: {engine.program} {engine.version}".rstrip())
        if engine.model_trouble:
            fix = "correct `model`, or let the appliance's user read it"
            yield Finding("engine.model", "error", f"{name}: {engine.model_trouble}", fix)
        elif engine.model_trouble is not None:
            yield Finding("engine.model", "ok", f"{name}: its model can be read")


def _network(facts: Facts) -> Iterator[Finding]:
    if facts.served:
        yield Finding("net.listen", "ok", "a server of ours listens")
    elif facts.port_trouble:
        yield Finding("net.listen", "error", facts.port_trouble, "end what listens there, or change `server.listen`")
    else:
        yield Finding("net.listen", "ok", "the address is free")
    for backend in facts.backends:
        if backend.trouble:
            fix = "is it running, is `url` right, does a firewall stand in between?"
            yield Finding("net.backend", "warning", f'backend "{backend.name}": {backend.trouble}', fix)
        else:
            yield Finding("net.backend", "ok", f'backend "{backend.name}" answers')
    if facts.proxies:
        words = f"{', '.join(facts.proxies)} set: clients on this machine may go to a proxy instead of here"
        yield Finding("net.proxy", "warning", words, "add this host to NO_PROXY")
    yield from _certificates(facts)


def _certificates(facts: Facts) -> Iterator[Finding]:
    for file, left in facts.certificates:
        days = left / 86400
        if left < 0:
            yield Finding("net.certificate", "error", f"{file} ended {-days:.0f} days ago", _RENEW)
        elif left < _SOON:
            yield Finding("net.certificate", "warning", f"{file} has {days:.0f} days left", _RENEW)
        else:
            yield Finding("net.certificate", "ok", f"{file} has {days:.0f} days left")
    if facts.unnamed:
        words = f"no certificate is for {', '.join(facts.unnamed)}: clients that use that name refuse it"
        fix = "have one issued for it; with an internal authority: appliance cert renew, which says more"
        yield Finding("net.names", "warning", words, fix)
    elif facts.certificates:
        yield Finding("net.names", "ok", "every name of `server.names` is in a certificate")


def _files(facts: Facts) -> Iterator[Finding]:
    if facts.config_missing:
        fix = "appliance install makes a first one; of another file: appliance doctor --config FILE"
        yield Finding("config.valid", "error", f"there is no configuration {facts.config}", fix)
    elif facts.problems:
        more = f" (and {len(facts.problems) - 1} more)" if len(facts.problems) > 1 else ""
        yield Finding("config.valid", "error", f"{facts.problems[0]}{more}", f"appliance check {facts.config}")
    else:
        yield Finding("config.valid", "ok", f"{facts.config or 'no configuration'} is valid")
    if facts.config_open:
        fix = f"chmod o-r {facts.config}"
        yield Finding("config.mode", "warning", f"everybody on this machine may read {facts.config}", fix)
    elif not facts.config_missing:
        yield Finding("config.mode", "ok", "the configuration is not for everybody")
    if facts.state_trouble:
        fix = f"it is for the appliance's user alone: chown -R appliance: {facts.state} && chmod 700 {facts.state}"
        yield Finding("state.directory", "error", facts.state_trouble, fix)
    elif facts.state_open:
        fix = f"chmod 700 {facts.state}; the server does so at its next start"
        yield Finding("state.directory", "warning", facts.state_open, fix)
    else:
        yield Finding("state.directory", "ok", "the state directory can be used")
