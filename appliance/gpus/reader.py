"""Asks the worker, and is never kept waiting by it."""

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import trio

from appliance.domain.gpus import Gpu, GpuSnapshot
from appliance.gpus.worker import Answer, found

_LOG = logging.getLogger("appliance.gpus")
_START = 20.0  # seconds in which the process has to be there; unpacking a bundle takes some
_PATIENCE = 2.0  # seconds for an answer
_LONGEST = 2**20  # bytes of an answer
_ABANDONED = 3  # workers that hang in the kernel and cannot be ended; more of them would not help
_decode = msgspec.json.Decoder(Answer).decode


def reader_of(file: str, env: Mapping[str, str], told: Callable[[Sequence[Gpu], int], None]) -> "GpuReader | None":
    """A reader whose worker is this very program, or None on a box without GPUs.

    Args:
        file: stands for the driver; "" looks for a real one.
        env: the worker's environment.
        told: see `GpuReader`.
    """
    if not found(Path(file) if file else None):
        return None
    ourselves = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "appliance"]
    return GpuReader([*ourselves, "_gpus", *(["--file", file] if file else [])], env, told)


class GpuReader:
    """One for the whole process; used by one task. `aclose` ends the worker.

    Args:
        command: starts the worker.
        env: its whole environment.
        told: gets every look and the number of timeouts so far.
        patience: seconds for an answer.

    Attributes:
        timeouts: answers that did not come in time.
        trouble: why there is nothing to know, in words; "" when all is well.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        told: Callable[[Sequence[Gpu], int], None] = lambda _gpus, _timeouts: None,
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._told = told
        self._command = command
        self._env = env
        self._patience = patience
        self._worker: trio.Process | None = None
        self._unread = b""
        self._stuck: list[trio.Process] = []
        self._last: tuple[Gpu, ...] = ()
        self.timeouts = 0
        self.trouble = ""

    async def read(self) -> GpuSnapshot:
        """The GPUs now; as they were last, and not known, when nobody answers. Never raises, never hangs."""
        trouble = ""
        try:
            answer = await self._ask()
            trouble = answer.trouble
            if not trouble:
                self._last = tuple(answer.gpus)
        except trio.TooSlowError:
            self.timeouts += 1
            trouble = f"the GPU driver did not answer within {self._patience:g} s"
            await self._drop()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, msgspec.MsgspecError) as error:
            trouble = f"the process that asks the GPU driver failed: {error}"
            await self._drop()
        except BaseException:  # cancelled: the answer under way would be taken for the next one's
            await self._drop()
            raise
        if trouble != self.trouble:
            self._tell(trouble)
        known = not trouble
        self._last = tuple(replace(gpu, known=known) for gpu in self._last)
        self._told(self._last, self.timeouts)
        return GpuSnapshot(self._last, trio.current_time())

    def last(self) -> tuple[Gpu, ...]:
        """The GPUs as they were last seen."""
        return self._last

    async def aclose(self) -> None:
        """End the worker."""
        await self._drop()

    def _tell(self, trouble: str) -> None:
        self.trouble = trouble
        if trouble:
            _LOG.warning("%s; nothing new is started on its GPUs, what runs goes on", trouble)
        else:
            _LOG.warning("the GPU driver answers again")

    async def _ask(self) -> Answer:
        worker = self._worker
        if worker is None:
            with trio.fail_after(_START):
                worker = await self._start()
        questions, answers = _pipes(worker)
        with trio.fail_after(self._patience):
            await questions.send_all(b"\n")
            return _decode(await self._line(answers))

    async def _start(self) -> trio.Process:
        self._stuck = [process for process in self._stuck if process.poll() is None]
        if len(self._stuck) >= _ABANDONED:
            raise OSError(f"{len(self._stuck)} of them hang in the kernel")
        open_process = partial(
            trio.lowlevel.open_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        worker = self._worker = await open_process(list(self._command), env=dict(self._env), start_new_session=True)
        self._unread = b""
        await self._line(_pipes(worker)[1])
        return worker

    async def _line(self, answers: trio.abc.ReceiveStream) -> bytes:
        while b"\n" not in self._unread:
            piece = await answers.receive_some()
            if not piece:
                raise OSError("it has ended")
            self._unread += piece
            if len(self._unread) > _LONGEST:
                raise OSError("its answer has no end")
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    async def _drop(self) -> None:
        """End the worker without waiting for one that cannot be ended."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with trio.CancelScope(shield=True):
            with suppress(OSError):
                worker.kill()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    await pipe.aclose()
            with trio.move_on_after(0.5):
                await worker.wait()
        if worker.returncode is None:
            self._stuck.append(worker)


def _pipes(worker: trio.Process) -> tuple[trio.abc.SendStream, trio.abc.ReceiveStream]:
    if worker.stdin is None or worker.stdout is None:  # pragma: no cover - both were asked for
        raise OSError("it has no pipes")
    return worker.stdin, worker.stdout
