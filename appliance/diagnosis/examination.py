"""`appliance doctor` for a running server: another process looks, so that what hangs there holds up nobody here."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from appliance.diagnosis.checks import Finding
from appliance.diagnosis.facts import PROXIES
from appliance.supervisor import environment

_PATIENCE = 30.0  # seconds; every single check has a deadline of its own, this one is for all of them
_LONGEST = 2**20  # bytes of an answer
_GOODBYE = 0.5  # seconds for a process that was killed to be gone
_MOMENT = 0.02  # seconds between two looks whether what it had started is gone, too
_SET = "set"  # all that the checks ask of these variables; their values may be secrets


class _Answer(msgspec.Struct):
    findings: list[Finding]


def examination_of(config: Path, environ: Mapping[str, str], date: Callable[[], float]) -> "Examination":
    """An examination by this very program.

    Args:
        config: the file of the running server.
        environ: that it was started with.
        date: seconds since 1970.
    """
    ourselves = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "appliance"]
    seen = {name: _SET for name in ("API_KEYS", *PROXIES) if environ.get(name)}
    return Examination([*ourselves, "doctor", "--json", "--config", str(config)], environment.inherited(seen), date)


class Examination:
    """Looks when somebody wants it, once at a time; whoever comes meanwhile waits for the same look.

    Args:
        command: prints what `appliance doctor --json` prints.
        env: its whole environment.
        date: seconds since 1970.
        patience: seconds that it may take.

    Attributes:
        findings: of the last look; empty before the first.
        at: when that ended, in seconds since 1970; None before the first.
        trouble: why it found nothing out; "" when it did.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        date: Callable[[], float],
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._command = command
        self._env = env
        self._date = date
        self._patience = patience
        self._wanted = trio.Event()
        self._ended = trio.Event()
        self._stuck: trio.Process | None = None  # hangs in the kernel, and cannot be ended
        self.findings: Sequence[Finding] = ()
        self.at: float | None = None
        self.trouble = ""

    async def run(self) -> None:
        """Look whenever somebody wants it, until cancelled."""
        while True:
            await self._wanted.wait()
            findings, self.trouble = await self._look()
            self.findings = findings if not self.trouble else self.findings
            self.at = self._date()
            self._wanted, ended, self._ended = trio.Event(), self._ended, trio.Event()
            ended.set()

    async def look(self, patience: float) -> bool:
        """Want a look, and wait for its end; False when that has not come after so many seconds, and it goes on."""
        ended = self._ended
        self._wanted.set()
        with trio.move_on_after(patience):
            await ended.wait()
        return ended.is_set()

    async def _look(self) -> tuple[Sequence[Finding], str]:
        if self._stuck is not None and self._stuck.poll() is None:
            return (), "the look before this one hangs in the kernel: a disk or a driver does not answer"
        try:
            process = await trio.lowlevel.open_process(
                list(self._command),
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return (), f"it cannot be started: {error.strerror}"
        ended = False
        try:
            with trio.fail_after(self._patience):
                said = await _said(process)
                await process.wait()
                ended = True
            return msgspec.json.decode(said, type=_Answer).findings, ""
        except trio.TooSlowError:
            return (), f"it did not end within {self._patience:g} s: a disk, a driver or a program hangs"
        except (OSError, trio.BrokenResourceError, msgspec.MsgspecError):
            return (), "it ended without an answer; `appliance doctor` in a terminal says why"
        finally:
            await self._end(process, ended=ended)

    async def _end(self, process: trio.Process, *, ended: bool) -> None:
        """End it with all that it has started, without waiting for one that cannot be ended."""
        with trio.CancelScope(shield=True):
            if process.stdout is not None:
                await process.stdout.aclose()
            if not ended:  # nobody has collected it, so the number is still its group's
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                with trio.move_on_after(_GOODBYE):
                    await process.wait()
                    await _collect(process.pid)
        if process.returncode is None:
            self._stuck = process


async def _collect(group: int) -> None:
    """What is left of a group whose leader is gone: it is ours to collect where orphans come to us."""
    with suppress(ChildProcessError):
        while True:
            if not os.waitpid(-group, os.WNOHANG)[0]:  # noqa: ASYNC222 - it does not wait
                await trio.sleep(_MOMENT)


async def _said(process: trio.Process) -> bytes:
    if process.stdout is None:  # pragma: no cover - it was asked for
        raise OSError("it has no pipe")
    said = b""
    async for piece in process.stdout:
        said += piece
        if len(said) > _LONGEST:
            raise OSError("its answer has no end")
    return said
