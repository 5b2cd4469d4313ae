"""The queue of log lines and the task that writes them: whoever reads our log, or stops reading, holds nobody up.

Nothing here may raise into the request path: a line that cannot be rendered or written is counted and forgotten.
"""

import logging
import os
import select
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TextIO, TypeVar

import trio

from appliance.domain.secret import Secret
from appliance.observe.lines import JournalFormatter, JsonFormatter, Redactor, TextFormatter, Told
from appliance.observe.log import ExchangeRecord
from appliance.observe.said import Said

_PAUSE = 0.05  # seconds between two writes
_LAST_WORDS = 2.0  # seconds for what still waits at the end
_SLICE = 200  # lines rendered at a stretch: half a millisecond
_BATCH = 10_000  # lines in one write, about 5 MB
_MOST_LINES = 100_000  # waiting; ten seconds of a busy server, about 40 MB of records
_MOST_CHARACTERS = 32 << 20  # waiting, of ordinary lines: a traceback can be long

R = TypeVar("R")
Lines = JsonFormatter | TextFormatter
_now = partial(time.clock_gettime_ns, time.CLOCK_REALTIME)


class Sink(logging.Handler):
    """Writes rendered, masked lines to a text stream: at once, or while `run` is at work in batches from a queue.

    Args:
        now: Unix time in nanoseconds.

    Attributes:
        dropped: lines that nobody will ever see.
        said: the last lines of the queue, as they were written.
    """

    def __init__(
        self,
        stream: TextIO,
        lines: Lines | JournalFormatter,
        redact: Redactor,
        now: Callable[[], int] = _now,
    ) -> None:
        super().__init__()
        self.setFormatter(lines)
        self.dropped = 0
        self._told_dropped = 0
        self._stream = stream
        self._lines = lines
        self._redact = redact
        self._now = now
        self._queue: deque[Told | str] = deque()
        self._queued = False  # lines go to the queue
        self.said = Said()
        self._stuck = False  # the reader did not even take the last words
        # Characters of ordinary lines; two counters, because lines may come from any thread and leave on this one.
        self._characters_in = 0
        self._characters_out = 0

    def mask(self, secrets: Sequence[Secret]) -> None:
        """Mask these too from now on."""
        self._redact.also(secrets)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line from `logging`; a broken stream is counted, never raised."""
        try:
            line = self.format(record)  # at once: what it talks about may change
            if self._queued:
                waiting = self._characters_in - self._characters_out
                if len(self._queue) < _MOST_LINES and waiting < _MOST_CHARACTERS:
                    self._characters_in += len(line)
                    self._queue.append(line)
                else:
                    self.dropped += 1
            else:
                self._write_now(self._redact(line) + "\n")
        except Exception:  # noqa: BLE001 - a log line must never end what it tells about
            self.dropped += 1

    def exchange(self, record: ExchangeRecord) -> None:
        """Tell about one exchange; the quick way, for the event loop only. The record must not change any more."""
        if not self._queued:
            self._exchange_now((self._now(), record))
        elif len(self._queue) < _MOST_LINES:
            self._queue.append((self._now(), record))
        else:
            self.dropped += 1

    async def around(self, product: Callable[[], Awaitable[R]]) -> R:
        """Run the product with the queue at work; its last lines are written before this returns or raises.

        Raises:
            BaseException: whatever the product raised, as it was.
        """
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self.run, name="log")
            try:
                result = await product()
            except BaseException as error:  # noqa: BLE001 - raised below, where the nursery does not wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return result

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is queued until cancelled, then the rest of it, for two seconds at most."""
        ending = trio.Event()
        # Shielded: at the end a write under way is waited for, or the next would overtake it.
        writing = trio.CancelScope(shield=True)
        self._queued = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_until, ending, writing)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                ending.set()
                writing.deadline = trio.current_time() + _LAST_WORDS

    async def _write_until(self, ending: trio.Event, writing: trio.CancelScope) -> None:
        limiter = trio.CapacityLimiter(1)
        write, close = _writer(self._stream)
        with writing:
            while self._queue or not ending.is_set():
                with trio.move_on_after(_PAUSE):
                    await ending.wait()
                await self._write_batch(write, limiter)
            close()
        self._queued = False
        self._stuck = writing.cancelled_caught
        self.dropped += len(self._queue)
        self._queue.clear()

    async def _write_batch(self, write: Callable[[str], int], limiter: trio.CapacityLimiter) -> None:
        slices: list[str] = []
        while self._queue and len(slices) < _BATCH // _SLICE:
            slices.append(self._render_slice())
            await trio.lowlevel.checkpoint()
        if slices:
            text = "".join(slices)
            try:
                # One at a time, in order; a thread that a stuck reader holds for ever is left behind at the end.
                lost = await trio.to_thread.run_sync(write, text, abandon_on_cancel=True, limiter=limiter)
            except Exception:  # noqa: BLE001 - a closed stream, or no thread to be had: no reason to end a server
                lost = text.count("\n")
            self.dropped += lost
            if not lost:
                self._tell_dropped()

    def _render_slice(self) -> str:
        entries = [self._queue.popleft() for _ in range(min(_SLICE, len(self._queue)))]
        self._characters_out += sum(len(entry) for entry in entries if isinstance(entry, str))
        try:
            text = self._redact(self._render(entries))  # whole lines: no secret lies across the border of two slices
        except Exception:  # noqa: BLE001 - a log line must never end what it tells about
            self.dropped += len(entries)
            return ""
        self.said.add(text)
        return text

    def _render(self, entries: Sequence[Told | str]) -> str:
        text: list[str] = []
        told: list[Told] = []
        for entry in entries:
            if isinstance(entry, str):
                text += [self._lines.exchanges(told), entry, "\n"]
                told = []
            else:
                told.append(entry)
        return "".join([*text, self._lines.exchanges(told)])

    def _write_now(self, text: str) -> None:
        if self._stuck:
            self.dropped += 1
        else:
            self._stream.write(text)
            self._stream.flush()

    def _exchange_now(self, told: Told) -> None:
        try:
            self._write_now(self._redact(self._lines.exchanges([told])))
        except Exception:  # noqa: BLE001 - a log line must never end what it tells about
            self.dropped += 1

    def _tell_dropped(self) -> None:
        """Once lines are read again, say how many were not."""
        if lost := self.dropped - self._told_dropped:
            self._told_dropped = self.dropped
            record = logging.LogRecord("appliance.log", logging.WARNING, "", 0, "log lines were lost", (), None)
            record.fields = {"lines": lost}
            self._queue.append(self.format(record))


def configure(
    log_format: str,
    stream: TextIO | None = None,
    *,
    secrets: Sequence[Secret] = (),
    level: int = logging.INFO,
    journal: str = "",
) -> Sink:
    """Send every log line of the process to one sink.

    Args:
        log_format: "json", "text", or "auto": text on a terminal. In the journal each line has its priority in front.
        stream: standard error when absent.
        secrets: masked wherever they appear.
        level: the least level that is written.
        journal: `JOURNAL_STREAM` of the environment, by which systemd names the stream that leads to its journal.
    """
    stream = stream or sys.stderr
    text = log_format == "text" or (log_format == "auto" and stream.isatty())
    to_journal = _is(stream, journal)
    lines: Lines = TextFormatter(timed=not to_journal) if text else JsonFormatter()
    sink = Sink(stream, JournalFormatter(lines) if to_journal else lines, Redactor(secrets))
    root = logging.getLogger()
    for old in _sinks():
        root.removeHandler(old)
    root.addHandler(sink)
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL that it asks
    return sink


def _is(stream: TextIO, named: str) -> bool:
    """Whether a stream is the file that is named by its device and inode."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def lines_dropped() -> int:
    """How many lines the process could not write so far."""
    return sum(sink.dropped for sink in _sinks())


def said() -> Said:
    """The last lines of the process; nothing where nobody writes any."""
    return next((sink.said for sink in _sinks()), Said())


def _sinks() -> list[Sink]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Sink)]


def _writer(stream: TextIO) -> tuple[Callable[[str], int], Callable[[], None]]:
    """How to write, telling how many lines were lost, and how to close what that needed.

    A descriptor of our own, past the stream and its lock: a thread that is stuck for ever with that lock in its hands
    would make the interpreter abort at exit, and a number that somebody else closes may soon mean another file.
    """
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return partial(_write_stream, stream), lambda: None
    return partial(_write_descriptor, descriptor, stream.encoding), partial(os.close, descriptor)


def _write_descriptor(descriptor: int, encoding: str, text: str) -> int:
    waiting = memoryview(text.encode(encoding, "backslashreplace"))
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    try:
        while waiting:
            room.poll()  # the descriptor may be non-blocking: others who have it decide that
            waiting = waiting[os.write(descriptor, waiting) :]
    except OSError:
        return bytes(waiting).count(b"\n")
    return 0


def _write_stream(stream: TextIO, text: str) -> int:
    stream.write(text)
    stream.flush()
    return 0
