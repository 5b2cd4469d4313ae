"""Datagrams to the service manager; sd_notify(3) is the source of every word."""

import contextlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

_IMPORTANT = 1.0  # seconds that everything may stand still for a word that must not be lost


@dataclass(frozen=True, slots=True)
class Manager:
    """Where the service manager listens, and how often it wants to hear from us.

    Attributes:
        address: of its datagram socket: a path, or a name that begins with "@"; "" when there is no manager.
        watchdog: seconds after whose silence it kills and restarts us; 0 when it does not watch.
    """

    address: str = ""
    watchdog: float = 0.0

    def tell(self, *lines: str, patience: float = 0.0) -> None:
        """Say something, such as "READY=1". Never raises: a manager that is gone misses nothing.

        Args:
            lines: what is said.
            patience: seconds to wait when it has not read what was said before; what then does not go is lost.
        """
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.settimeout(patience)
            out.sendto("\n".join(lines).encode(), name)

    def ready(self) -> None:
        """We answer."""
        self.tell("READY=1")

    def reloading(self) -> None:
        """A new configuration is being read; `ready` follows."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def handed_over(self, pid: int) -> None:
        """Another process is the service's main one from now on, and every further word is its.

        That is ours to say: with `NotifyAccess=main` the manager listens to the main process alone, and takes a new one
        only from inside of the service's own cgroup, where the children of the old one are. What both say arrives in
        the order in which it is said, so the new one may speak as soon as this was. Until the old one has ended, the
        new one is its child and not the manager's; systemd watches it by a handle all the same.
        """
        self.tell(f"MAINPID={pid}", "WATCHDOG=1", patience=_IMPORTANT)

    def stopping(self, seconds: float) -> None:
        """We are going, which may take that long."""
        self.tell("STOPPING=1", "STATUS=finishing what is under way", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def manager_of(environ: Mapping[str, str], pid: int) -> Manager:
    """Who started us, by what it left in the environment.

    Args:
        environ: of this process.
        pid: of this process; a watchdog may be meant for another one.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or len(address) < 2:
        return Manager()
    micros, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    watched = micros.isdecimal() and meant == str(pid)
    return Manager(address, int(micros) / 1e6 if watched else 0.0)
