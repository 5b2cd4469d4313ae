"""A process for as long as a block runs: on one CPU, in a session of its own, with its output in a file."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.machine import favour

KEY = "sk-bench-of-our-own-and-of-nobody-else"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STOP_SECONDS = 15


class NotMeasuredError(Exception):
    """A program did not start, or said nothing in time; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running program; its session's number is its process id."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def session(self) -> int:
        """What /proc knows the program and its children by."""
        return self.process.pid


def find(name: str) -> str:
    """Where a program of the system is, daemons' folders included; "" if it is not installed."""
    return shutil.which(name, path=_PATH) or ""


def on_cpu(cpu: int, command: Sequence[str | Path]) -> list[str]:
    """The command, kept on one CPU from its first instruction: some count the CPUs when they start."""
    return [find("taskset") or "taskset", "-c", str(cpu), *map(str, command)]


@contextmanager
def running(cpu: int, command: Sequence[str | Path], log: Path) -> Iterator[Program]:
    """Start, and stop with all children at the end of the block. The environment is the same for everybody."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            on_cpu(cpu, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
        )
    try:
        favour(process.pid)
        yield Program(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"  {command[0]} did not stop within {_STOP_SECONDS} s")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port: int, model: str = "mock", timeout: float = 5) -> int:
    """One small request; the status.

    Raises:
        OSError, HTTPException: nobody listens, or what came was no answer.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}],"max_tokens":8}}'
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def wait_for(program: Program, port: int, seconds: float = 60) -> None:
    """Return when a request through `port` is answered.

    Raises:
        NotMeasuredError: the program ended, or did not answer within the time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and program.process.poll() is None:
        with suppress(OSError, HTTPException):
            if ask(port) == 200:
                return
        time.sleep(0.05)
    raise NotMeasuredError(program.log.read_text(errors="replace")[-1500:])
