"""What has to be so on a machine that runs the appliance as a service, in the order in which it is made so. Pure."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from appliance.installation.found import Found

USER = "appliance"
CONFIG = PurePosixPath("/etc/appliance/appliance.toml")
STATE = PurePosixPath("/var/lib/appliance")
UNIT = PurePosixPath("/etc/systemd/system/appliance.service")
PROGRAM = PurePosixPath("/usr/local/bin/appliance")
PROGRAM_DIRECTORY = PurePosixPath("/opt/appliance")
_ADMIN = "root"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is to be, by name."""

    user: str = _ADMIN
    group: str = _ADMIN


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that exists, with this mode and owner."""

    path: PurePosixPath
    mode: int
    owner: Owner = Owner()

    def words(self) -> str:
        """What it does."""
        return f"make the directory {self.path} ({self.mode:04o}, {self.owner.user}:{self.owner.group})"


@dataclass(frozen=True, slots=True)
class File:
    """A file with this text.

    Attributes:
        keep: one that exists is somebody's work: its text and mode stay.
    """

    path: PurePosixPath
    text: str = field(repr=False)
    mode: int = 0o644
    owner: Owner = Owner()
    keep: bool = False

    def words(self) -> str:
        """What it does."""
        return f"write {self.path} ({self.mode:04o}, {self.owner.user}:{self.owner.group})"


@dataclass(frozen=True, slots=True)
class Copy:
    """A program that is at a place: a file, or a directory with everything in it."""

    source: str
    path: PurePosixPath

    def words(self) -> str:
        """What it does."""
        return f"copy {self.source} to {self.path}"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: PurePosixPath
    to: PurePosixPath

    def words(self) -> str:
        """What it does."""
        return f"link {self.path} to {self.to}"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or a whole directory that does not exist any more."""

    path: PurePosixPath

    def words(self) -> str:
        """What it does."""
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the system that is run.

    Attributes:
        optional: a failure is told and nothing more.
        after_change: there is nothing to do unless a step before it has changed something.
        unless: a program that succeeds when it is so already.
    """

    argv: tuple[str, ...]
    optional: bool = False
    after_change: bool = False
    unless: tuple[str, ...] = ()

    def words(self) -> str:
        """What it does."""
        return f"run {' '.join(self.argv)}"


Step = Directory | File | Copy | Link | Remove | Command


@dataclass(frozen=True, slots=True)
class Ourselves:
    """The program that installs.

    Attributes:
        path: what to run it by, now.
        bundle: the file or directory to copy; "" when it stays where it is: it is no binary, or in its place already.
        directory: the bundle is a directory, with the program in it.
    """

    path: str
    bundle: str = ""
    directory: bool = False

    @property
    def installed(self) -> str:
        """What the service runs it by."""
        return str(PROGRAM) if self.bundle else self.path


def installing(found: Found, ourselves: Ourselves, config: str, unit: str, *, start: bool = True) -> list[Step]:
    """Everything.

    Args:
        found: on the machine.
        ourselves: the program.
        config: the text of a first configuration; one that exists is kept.
        unit: the template of the service's unit.
        start: start it, and at every boot, where there is a service manager.
    """
    made: list[Step] = []
    if not found.user:
        shell, home = "/usr/sbin/nologin", str(STATE)
        made.append(
            Command(("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, "-s", shell, USER))
        )
    if ourselves.bundle and ourselves.directory:
        made += [Copy(ourselves.bundle, PROGRAM_DIRECTORY), Link(PROGRAM, PROGRAM_DIRECTORY / "appliance")]
    elif ourselves.bundle:
        made.append(Copy(ourselves.bundle, PROGRAM))
    service = Owner(USER, USER)
    made += [
        # The service changes its configuration by putting another file in its place, so nothing that root reads for it
        # is in that directory. No sticky bit: with it the kernel (fs.protected_regular) would keep root itself out.
        Directory(CONFIG.parent, 0o770, Owner(_ADMIN, USER)),
        File(CONFIG, config, 0o640, service, keep=True),
        Directory(STATE, 0o700, service),
        File(UNIT, unit_text(unit, ourselves.installed, found.groups)),
    ]
    if found.service_manager:
        made.append(Command(("systemctl", "daemon-reload"), after_change=True))
        if start:
            made += [
                Command(("systemctl", "restart", UNIT.name), after_change=True),
                Command(("systemctl", "enable", UNIT.name), unless=("systemctl", "is-enabled", "--quiet", UNIT.name)),
                Command(("systemctl", "start", UNIT.name), unless=("systemctl", "is-active", "--quiet", UNIT.name)),
            ]
    return made


def uninstalling(found: Found, *, purge: bool) -> list[Step]:
    """The way back; with `purge` also what holds the owner's work: configuration, keys, usage and logs."""
    made: list[Step] = []
    if found.service_manager:
        made.append(Command(("systemctl", "disable", "--now", UNIT.name), optional=True))
    made += [Remove(UNIT), Remove(PROGRAM), Remove(PROGRAM_DIRECTORY)]
    if found.service_manager:
        made.append(Command(("systemctl", "daemon-reload"), optional=True))
    if purge:
        made += [Remove(CONFIG.parent), Remove(STATE)]
        if found.user:
            made.append(Command(("userdel", USER), optional=True))
    return made


def unit_text(template: str, program: str, groups: tuple[str, ...]) -> str:
    """The unit for this machine. A group that does not exist would keep the service from starting."""
    text = template.replace("@BINARY@", program).replace("@CONFIG@", str(CONFIG)).replace("@USER@", USER)
    if groups:
        return text.replace("@GROUPS@", " ".join(groups))
    return "".join(line for line in text.splitlines(keepends=True) if "@GROUPS@" not in line)
