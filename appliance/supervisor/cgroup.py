"""A cgroup for each replica, where this machine lets us have one: a surer kill, a surer look, and what memory it took.

    home = cgroup.home()                 # None: no cgroup of ours here; everything works without it, only less surely
    leaf = home.leaf(tags)               # its directory, made when needed: <ours>/engines/<replica>.<instance>.replica
    spawn.launch(…, leaf=leaf)           # the child is in it before its program begins
    leaf.kill(); leaf.populated          # everybody below at once; the proof that nobody is left
    leaf.remove()                        # once it is empty

Only version 2 counts. Killing and emptiness need no controllers, so we enable none in a cgroup that holds processes,
move nobody, and can be started again where we were. Only when the service manager has put us into a cgroup of our own
below the one it handed over (systemd: `Delegate=yes` and `DelegateSubgroup=appliance`) do the leaves account memory.

A cgroup is ours to divide when the one who made it said so: it belongs to the user that we are and that is not root,
or it carries the mark of delegation, or it is the top of our own cgroup namespace (a container).
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from appliance.supervisor.tree import Tags

SUBGROUP = "appliance"  # where the unit file puts us
_ENGINES = "engines"
_MARKS = ("user.delegate", "trusted.delegate")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_of(mountinfo: str) -> tuple[str, str] | None:
    """The version 2 hierarchy in the text of `/proc/self/mountinfo`: which part of it is mounted, and where. Pure."""
    for line in mountinfo.splitlines():
        words = line.split(" ")
        # The fields of proc_pid_mountinfo(5): what is mounted is the 4th, where is the 5th, the type follows a dash.
        if "-" in words[6:] and words[words.index("-", 6) + 1 :][:1] == ["cgroup2"]:
            return _unescape(words[3]), _unescape(words[4])
    return None


def own_path(cgroup: str) -> str | None:
    """Our own cgroup in the text of `/proc/self/cgroup`; None where version 2 is not in use. Pure."""
    for line in cgroup.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::").removesuffix(" (deleted)")
    return None


def directory_of(mountinfo: str, cgroup: str) -> Path | None:
    """Where our own cgroup is in the file system; None when it cannot be seen. Pure."""
    mount, own = mount_of(mountinfo), own_path(cgroup)
    if mount is None or own is None:
        return None
    root, place = mount
    inside = own.removeprefix(root.rstrip("/")) if root != "/" else own
    if ".." in Path(own).parts or (root != "/" and not (own == root or own.startswith(f"{root}/"))):
        return None  # it lies outside of what is mounted here
    return Path(place, inside.strip("/"))


@dataclass(frozen=True, slots=True)
class Leaf:
    """The cgroup of one replica.

    Attributes:
        path: its directory.
    """

    path: Path

    @property
    def populated(self) -> bool:
        """Whether anybody lives in it or below. A cgroup that is not there is empty."""
        return _facts(self.path / "cgroup.events").get("populated", 0) != 0

    def pids(self) -> set[int]:
        """Who is in it, or below."""
        found: set[int] = set()
        for directory in _below(self.path):
            with suppress(OSError):
                found |= {int(word) for word in (directory / "cgroup.procs").read_text("ascii").split()}
        return found - {0}  # somebody of another pid namespace

    def kill(self) -> bool:
        """End everybody in it and below at once, however fast they fork; False where the kernel cannot (5.14)."""
        return _put(self.path / "cgroup.kill", "1")

    def add(self, pid: int) -> bool:
        """Move a process into it."""
        return _put(self.path / "cgroup.procs", str(pid))

    @property
    def peak(self) -> int | None:
        """The most bytes of host memory that it ever held; None where memory is not accounted."""
        with suppress(OSError, ValueError):
            return int((self.path / "memory.peak").read_text("ascii"))
        return None

    @property
    def oom_kills(self) -> int | None:
        """How many of its processes the kernel ended for want of memory; None where memory is not accounted."""
        return _facts(self.path / "memory.events").get("oom_kill")

    def remove(self) -> bool:
        """Remove its directory and those below; False while somebody lives there."""
        for directory in reversed(list(_below(self.path))):
            with suppress(OSError):
                directory.rmdir()
        return not self.path.exists()


@dataclass(frozen=True, slots=True)
class Home:
    """The cgroup that is ours to divide.

    Attributes:
        path: its directory.
        accounts: the leaves account memory.
    """

    path: Path
    accounts: bool = False

    def leaf(self, tags: Tags) -> Leaf | None:
        """The leaf of a replica, made when it is not there; None when it cannot be made."""
        # Two appliances may share a cgroup, but never a leaf.
        leaf = Leaf(self.path / _ENGINES / (quote(tags.replica, safe="@") + _ending(tags.instance)))
        try:
            leaf.path.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        if self.accounts:
            _put(self.path / _ENGINES / "cgroup.subtree_control", "+memory")
        return leaf


def home() -> Home | None:
    """The cgroup of this process, when it is ours to divide. Looks at the kernel's files; blocks for a moment."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        cgroup = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    ours = directory_of(mountinfo, cgroup)
    return None if ours is None else home_at(ours)


def home_at(ours: Path) -> Home | None:
    """The same for a process that lives in the cgroup `ours`."""
    if ours.name == SUBGROUP and _is_ours(ours.parent):
        # Nobody but us below the parent, so it may hand its controllers down.
        return Home(ours.parent, accounts=_put(ours.parent / "cgroup.subtree_control", "+memory"))
    return Home(ours) if _is_ours(ours) else None


def adopt(path: str, instance: str) -> Leaf | None:
    """The leaf that a record names, when it is still there and belongs to this instance."""
    leaf = Leaf(Path(path))
    named = leaf.path.is_absolute() and leaf.path.parent.name == _ENGINES and path.endswith(_ending(instance))
    return leaf if named and (leaf.path / "cgroup.events").is_file() else None


def oom_kills_of_machine() -> int:
    """How many processes of this machine the kernel has ended for want of memory, in any cgroup; 0 when not told."""
    return _facts(Path("/proc/vmstat")).get("oom_kill", 0)


def _ending(instance: str) -> str:
    return f".{instance}.replica"


def _is_ours(path: Path) -> bool:
    if not (path / "cgroup.events").is_file():  # the machine's own top, or nothing at all
        return False
    if not (os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)):
        return False
    if os.geteuid() != 0:
        return True
    # Root may write everywhere, which says nothing.
    return any(_mark(path, name) == b"1" for name in _MARKS) or os.path.ismount(path)


def _mark(path: Path, name: str) -> bytes:
    try:
        return os.getxattr(path, name)
    except OSError:
        return b""


def _below(path: Path) -> Iterator[Path]:
    yield path
    try:
        children = [Path(entry.path) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for child in children:
        yield from _below(child)


def _facts(path: Path) -> dict[str, int]:
    facts: dict[str, int] = {}
    with suppress(OSError):
        for line in path.read_text("ascii", "replace").splitlines():
            name, _, value = line.partition(" ")
            if value.isdecimal():
                facts[name] = int(value)
    return facts


def _put(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never creates: only the kernel makes these files
    except OSError:
        return False
    try:
        os.write(handle, text.encode("ascii"))
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
