"""One process held by a handle, the same for a child of ours and for one that an earlier run of ours left behind.

    process = Process.child(popen)                     # ours: a zombie until `collect`, so its pid stays its own
    process = Process.adopt(pid, start, boot)          # somebody else's child: None when it is not that process
    await process.wait()                               # returns when it has ended; any number of tasks may wait
    process.exit_code()                                # negative for a signal; None while it runs or when unknown
    process.collect()                                  # only after its tree is empty; closes the handle as well

What it is: pid, start time and boot together. The handle is a pidfd, which never points to anybody else.
"""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess

import trio

from appliance.supervisor import proc
from appliance.supervisor.proc import Member

# linux/pidfd.h: struct pidfd_info as it was first published; its `mask` says what is asked for and what is told.
_INFO = struct.Struct("QQ11Ii")
_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11
_LAST_WORDS = 0.5  # seconds for the parent of an adopted process to collect it, which is when its code can be read


class Process:
    """See the module. Built by `child` and `adopt`.

    Attributes:
        pid: of the process.
        start: its start time in clock ticks since boot.
        boot: the id of this boot.
        adopted: it is not our child.
    """

    def __init__(self, member: Member, boot: str, handle: int, child: "subprocess.Popen[bytes] | None") -> None:
        self.pid = member.pid
        self.start = member.start
        self.boot = boot
        self.adopted = child is None
        self._child = child
        self._handle = handle
        self._code: int | None = None
        self._over = False

    @classmethod
    def child(cls, child: "subprocess.Popen[bytes]") -> "Process":
        """A child that has not been collected.

        Raises:
            OSError: no handle can be had (out of file descriptors); the child goes on.
        """
        stat = proc.stat_of(child.pid)
        if stat is None:
            raise OSError(f"pid {child.pid} was collected already, or /proc cannot be read")
        return cls(stat.member, proc.boot_id(), os.pidfd_open(child.pid), child)

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Whoever has this pid now.

        Raises:
            OSError: nobody has it, or no handle can be had.
        """
        handle = os.pidfd_open(pid)
        stat = proc.stat_of(pid)
        if stat is None:
            os.close(handle)
            raise ProcessLookupError(f"no process {pid}")
        return cls(stat.member, proc.boot_id(), handle, None)

    @classmethod
    def adopt(cls, pid: int, start: int, boot: str) -> "Process | None":
        """The very process that had this pid, start time and boot, when it still runs.

        Raises:
            OSError: no handle can be had (out of file descriptors).
        """
        if pid <= 1 or not boot or boot != proc.boot_id():
            return None
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        # Looked at after the handle was opened: what it points to cannot change any more.
        stat = proc.stat_of(pid)
        if stat is None or not stat.alive or stat.member != Member(pid, start):
            os.close(handle)
            return None
        return cls(stat.member, boot, handle, None)

    def __repr__(self) -> str:
        return f"Process({self.pid}{', adopted' if self.adopted else ''})"

    @property
    def member(self) -> Member:
        """Pid and start time."""
        return Member(self.pid, self.start)

    @property
    def ended(self) -> bool:
        """Whether it has ended, collected or not."""
        if not self._over:
            poll = select.poll()
            poll.register(self._handle, select.POLLIN)
            self._over = bool(poll.poll(0))
        return self._over

    @property
    def holds_pid(self) -> bool:
        """Whether its pid is still its own: it runs, or it is a zombie that nobody has collected."""
        if not self.ended:
            return True
        stat = proc.stat_of(self.pid)
        return stat is not None and stat.member == self.member

    async def wait(self) -> None:
        """Return when it has ended. A child stays a zombie until `collect`."""
        if not self.ended:
            handle = os.dup(self._handle)  # so that several tasks can wait
            try:
                await trio.lowlevel.wait_readable(handle)
            finally:
                os.close(handle)
        if self.adopted:
            with trio.move_on_after(_LAST_WORDS):
                while self.exit_code() is None:
                    await trio.sleep(0.01)

    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs, and for an adopted one where nobody tells."""
        if self._code is None and self.ended:
            self._code = self._ask()
        return self._code

    def signal(self, number: signal.Signals) -> None:
        """Signal it, and nobody else even when its pid has been used again. Nothing happens when it has ended."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._handle, number)

    def collect(self) -> None:
        """Take the zombie away, keep the code, close the handle. Only after its tree is empty. Idempotent."""
        if self._handle < 0:
            return
        self.exit_code()
        if self.ended:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
            if self._child is not None:
                self._child.returncode = 0 if self._code is None else self._code  # Popen need not look for it
        self.release()

    def release(self) -> None:
        """Close the handle and leave the process alone: it goes on without us. Nothing can be asked after that."""
        if self._handle >= 0:
            self._over = True
            os.close(self._handle)
            self._handle = -1
            if self._child is not None and self._child.returncode is None:
                self._child.returncode = 0  # else Popen complains about one that runs on

    def _ask(self) -> int | None:
        if self._handle < 0:
            return None
        try:  # an adopted one may be a child as well: of the run before an exec of ours, or of pid 1, which we may be
            result = os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return _told(self._handle)
        if result is None:
            return None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _told(handle: int) -> int | None:
    """The exit code of somebody else's child, which the kernel tells since 6.15 once its parent has collected it."""
    buffer = bytearray(_INFO.size)
    struct.pack_into("Q", buffer, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(handle, _PIDFD_GET_INFO, buffer)
    except OSError:  # an older kernel, or not collected yet
        return None
    fields = _INFO.unpack(buffer)
    return os.waitstatus_to_exitcode(fields[-1]) if fields[0] & _INFO_EXIT else None
