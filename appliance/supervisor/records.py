"""What the next run of the appliance needs to know about the processes of this one: a file for each replica.

    records.save(run_dir, record, key)            # after the start, again when it is ready
    records.load(run_dir) -> list[Saved]          # at the next start; what cannot be read is not there
    records.verify(record, facts_now(record, tags), config) -> why it cannot be adopted, or None
    records.forget(run_dir, replica)              # when its tree is proved empty

`run_dir` is private (0700), the files are 0600. A file is written beside its place, synced, and moved there, so that
whoever reads finds the old one or the new one, never a half. The key that the child asks for is in a file of its own:
the record names it and can be shown to anybody.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from appliance.domain.secret import Secret
from appliance.domain.targets import Address
from appliance.durable import replace_file
from appliance.supervisor import proc
from appliance.supervisor.proc import Member
from appliance.supervisor.tree import Tags

VERSION = 2
_LONGEST = 2**16  # bytes of a file; ours are far below
_ENDING = ".replica.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One running replica, as the next run has to know it.

    Attributes:
        replica: its name.
        runtime: the runtime it is one of.
        pid: of its top process.
        start: that process's start time, clock ticks since boot.
        boot: the id of the boot that both belong to.
        scheme: how it is reached: "unix", or "http".
        host: the socket's path, or a host.
        port: 0 for a socket.
        config: `fingerprint` of what it was started with.
        log: the file it writes to.
        cgroup: its cgroup's directory; empty without one.
        started: when it was started, seconds since 1970.
        ready: when it became ready; 0 before.
        learned: seconds that its last complete start took; 0 when unknown.
        gpus: the indices of its GPUs, with commas between; "-" when the engine chose.
        total: bytes of the smallest of them; 0 when unknown.
    """

    replica: str
    runtime: str
    pid: int
    start: int
    boot: str
    scheme: Literal["unix", "http"]
    host: str
    port: int
    config: str
    log: str
    cgroup: str = ""
    started: float = 0.0
    ready: float = 0.0
    learned: float = 0.0
    gpus: str = "-"
    total: int = 0

    @property
    def placed(self) -> tuple[int, ...] | None:
        """Its GPUs; None when the engine chose."""
        return None if self.gpus == "-" else tuple(int(index) for index in self.gpus.split(",") if index)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(self.scheme, self.host, self.port)

    @property
    def member(self) -> Member:
        """Its top process."""
        return Member(self.pid, self.start)


@dataclass(frozen=True, slots=True)
class Saved:
    """A record and the key that its child asks for, which is None where there is none."""

    record: Record
    key: Secret | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be seen of a recorded process now.

    Attributes:
        boot: the id of this boot.
        start: start time of whoever has its pid and is alive; None for nobody.
        tagged: that process carries the replica's tags.
    """

    boot: str
    start: int | None
    tagged: bool


def fingerprint(argv: Sequence[str], env: Mapping[str, str], secrets: Sequence[Secret] = ()) -> str:
    """What a process was started with, as a short text that tells nothing; the same for the same launch.

    Args:
        argv: the command line.
        env: the variables that were set for it; those whose value holds a secret count by their name only.
        secrets: new for every start, so no part of the config.
    """
    hidden = [secret.reveal for secret in secrets if secret.reveal]
    shown = {name: "" if any(word in value for word in hidden) else value for name, value in env.items()}
    words = [*argv] if not hidden else [word for word in argv if not any(part in word for part in hidden)]
    text = json.dumps([words, sorted(shown.items())])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def save(run_dir: Path, record: Record, key: Secret | None) -> None:
    """Write a record, and before it the key: whoever is killed between the two leaves the record of a process that has
    ended beside the key of the next one, which is taken for nobody's.

    Raises:
        OSError: it cannot be written, on a full disk for one; what was there before is still there.
    """
    place = _place(run_dir, record.replica)
    if key is None:
        _key_place(place).unlink(missing_ok=True)
    else:
        replace_file(_key_place(place), key.reveal.encode())
    replace_file(place, json.dumps({"version": VERSION, **asdict(record)}, indent=1).encode())


def load(run_dir: Path) -> list[Saved]:
    """Every record that can be read, by name of the replica. One that cannot is no record: its processes are tagged.

    Raises:
        OSError: the directory cannot be read.
    """
    found: list[Saved] = []
    for name in sorted(os.listdir(run_dir)):  # noqa: PTH208 - an error must reach the caller at once
        if not name.endswith(_ENDING):
            continue
        place = run_dir / name
        record = parse(_read(place))
        if record is not None and _place(run_dir, record.replica) == place:
            key = _read(_key_place(place))
            found.append(Saved(record, Secret(key.decode("ascii", "replace")) if key else None))
    return found


def parse(data: bytes) -> Record | None:
    """The record in a file's bytes; None when it is not exactly one of this version. Pure."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.pop("version", None) != VERSION:
        return None
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Record)}
    if set(values) != set(kinds) or not all(_is(values[name], kind) for name, kind in kinds.items()):
        return None
    return Record(**values)


def forget(run_dir: Path, replica: str) -> None:
    """Remove a record and its key; nothing happens without one. Never fails: a stale record is harmless."""
    place = _place(run_dir, replica)
    for path in (place, _key_place(place)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def facts_now(record: Record, tags: Tags) -> Facts:
    """Look at the recorded process. Blocks for a moment, and with a process that hangs in the kernel: use a thread."""
    stat = proc.stat_of(record.pid)
    if stat is None or not stat.alive:
        return Facts(proc.boot_id(), None, tagged=False)
    return Facts(proc.boot_id(), stat.member.start, tagged=proc.carries(record.pid, tags.marks))


def verify(record: Record, now: Facts, config: str) -> str | None:
    """Why the recorded process cannot be taken over; None when it can. Whatever is not provably ours is not touched.

    Args:
        record: from an earlier run.
        now: what is seen.
        config: fingerprint of the launch that today's configuration asks for.
    """
    if not record.boot or record.boot != now.boot:
        return "the machine was restarted since"
    if now.start is None:
        return "its process has ended"
    if now.start != record.start or not now.tagged:
        return f"pid {record.pid} belongs to another process now"
    if record.config != config:
        return "its configuration has changed"
    return None


def _is(value: object, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if kind not in (str, int):
        return value in ("unix", "http")
    return type(value) is kind


def _place(run_dir: Path, replica: str) -> Path:
    return run_dir / (quote(replica, safe="@") + _ENDING)


def _key_place(place: Path) -> Path:
    return place.with_name(place.name.removesuffix(_ENDING) + ".key")


def _read(place: Path) -> bytes:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file, suppress(OSError):
        return file.read(_LONGEST)
    return b""
