"""Makes steps so, one after the other; what is so already is left alone."""

import contextlib
import filecmp
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from appliance.errors import OperatorError
from appliance.installation.steps import Command, Copy, Directory, File, Link, Owner, Remove, Step

_PATIENCE = 180.0  # seconds for a program of the system; stopping the service lets streams end


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a step: "changed", "kept" (it was so already), "would" (a dry run) or "failed"."""

    step: Step
    outcome: Literal["changed", "kept", "would", "failed"]
    detail: str = ""


def carry_out(steps: Sequence[Step], root: Path, *, dry_run: bool) -> Iterator[Done]:
    """Make each step so, and say so.

    Args:
        steps: in order.
        root: of the file system. In any but the machine's own nothing is run, and everything is ours.
        dry_run: change nothing.

    Raises:
        OperatorError: a step failed; those before it are done, and doing all of it again goes on from there.
    """
    real = root == Path("/")
    changed = False
    for step in steps:
        if _so(step, root, real=real) or (isinstance(step, Command) and step.after_change and not changed):
            yield Done(step, "kept")
            continue
        changed = True
        if dry_run:
            yield Done(step, "would")
        elif isinstance(step, Command):
            yield Done(step, *_run(step)) if real else Done(step, "kept", "not in another root")
        else:
            try:
                _make(step, root, real=real)
            except OSError as error:
                why = error.strerror or str(error)
                raise OperatorError(f"cannot {step.words()}: {why}; mend that and install again") from error
            yield Done(step, "changed")


def _at(path: PurePosixPath, root: Path) -> Path:
    return root / path.relative_to("/")


def _so(step: Step, root: Path, *, real: bool) -> bool:
    """Whether there is nothing to do."""
    try:
        match step:
            case Directory():
                path = _at(step.path, root)
                return path.is_dir() and _fits(path, step.mode, step.owner if real else None)
            case File():
                path = _at(step.path, root)
                if not path.is_file():
                    return False
                same = path.read_text(encoding="utf-8", errors="replace") == step.text
                return step.keep or (same and _fits(path, step.mode, step.owner if real else None))
            case Copy():
                source, path = Path(step.source), _at(step.path, root)
                return path.exists() and (_same_tree(source, path) if source.is_dir() else filecmp.cmp(source, path))
            case Link():
                path = _at(step.path, root)
                return path.is_symlink() and str(path.readlink()) == str(step.to)
            case Remove():
                path = _at(step.path, root)
                return not (path.exists() or path.is_symlink())
            case Command():
                return real and bool(step.unless) and _succeeds(step.unless)
    except (OSError, subprocess.TimeoutExpired):  # not ours to look at
        return False


def _fits(path: Path, mode: int, owner: Owner | None) -> bool:
    seen = path.stat()
    if seen.st_mode & 0o7777 != mode:
        return False
    return owner is None or (seen.st_uid, seen.st_gid) == _ids(owner)


def _ids(owner: Owner) -> tuple[int, int]:
    try:
        return pwd.getpwnam(owner.user).pw_uid, grp.getgrnam(owner.group).gr_gid
    except KeyError:
        return -1, -1


def _same_tree(one: Path, other: Path) -> bool:
    found = filecmp.dircmp(one, other)
    if found.left_only or found.right_only or found.diff_files or found.funny_files:
        return False
    return all(_same_tree(one / name, other / name) for name in found.common_dirs)


def _make(step: Step, root: Path, *, real: bool) -> None:
    match step:
        case Directory():
            path = _at(step.path, root)
            path.mkdir(parents=True, exist_ok=True)
            _own(path, step.mode, step.owner, real=real)
        case File():
            path = _at(step.path, root)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
                out.write(step.text)
            _own(fresh, step.mode, step.owner, real=real)
            fresh.replace(path)  # never half of it
        case Copy():
            path = _at(step.path, root)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            _remove(fresh)
            if Path(step.source).is_dir():
                shutil.copytree(step.source, fresh, symlinks=True)
                _remove(path)
            else:
                shutil.copyfile(step.source, fresh)
                fresh.chmod(0o755)
            fresh.replace(path)  # a program that runs cannot be overwritten, but replaced
        case Link():
            path = _at(step.path, root)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
            path.symlink_to(step.to)
        case Remove():
            _remove(_at(step.path, root))
        case Command():
            pass


def _own(path: Path, mode: int, owner: Owner, *, real: bool) -> None:
    if real:
        uid, gid = _ids(owner)
        if uid < 0:
            raise OperatorError(f"there is no user {owner.user} or group {owner.group}; make them, and install again")
        os.chown(path, uid, gid)
    path.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _succeeds(argv: Sequence[str]) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=_PATIENCE, check=False).returncode == 0


def _run(step: Command) -> tuple[Literal["changed", "failed"], str]:
    try:
        ended = subprocess.run(step.argv, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        said = error.strerror or "" if isinstance(error, OSError) else f"not done after {_PATIENCE:g} s"
    else:
        if ended.returncode == 0:
            return "changed", ""
        said = (ended.stderr or ended.stdout).strip()
    if step.optional:
        return "failed", said
    raise OperatorError(f"cannot {step.words()}: {said}; mend that and install again")
