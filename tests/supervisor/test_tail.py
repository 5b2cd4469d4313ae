import resource
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from appliance.domain.secret import Secret
from appliance.supervisor.process import Process
from appliance.supervisor.spawn import spawn
from appliance.supervisor.tail import LINE_BYTES, LINES, Piece, Reader, Tail


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def written(path: Path, data: bytes, **kwargs: int) -> list[str]:
    tail = Tail(path, [Secret("hush")], clock=Clock(), **kwargs)
    with path.open("ab") as file:
        file.write(data)
    tail.poll()
    return tail.lines()


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def test_only_what_comes_after_the_start_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old run\n")
    assert written(tmp_path / "log", b"new\nopen") == ["new", "open"]


def test_both_line_ends_count_and_what_is_not_text_is_cleaned(tmp_path: Path) -> None:
    data = b"10%\r20%\r\n\x1b[31mred\x1b[0m\x07\n\xff\tx\n\x1b]0;title\x07done\n"
    assert written(tmp_path / "log", data) == ["10%", "20%", "red", "\ufffd\tx", "done"]


def test_secrets_are_masked_even_across_the_cut(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", b"key hush!\n" + b"x" * (LINE_BYTES - 2) + b"hush\n")
    assert lines[0] == "key ***!"
    assert "hu" not in lines[1]
    assert len(lines[1]) == LINE_BYTES


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_bytes_in_any_pieces_give_bounded_clean_lines(pieces: list[bytes]) -> None:
    tail = Tail(Path("/nonexistent/log"), clock=Clock())
    for piece in pieces:
        tail._take(piece)
    lines = tail.lines()
    whole = Tail(Path("/nonexistent/log"), clock=Clock())
    whole._take(b"".join(pieces))
    assert lines == whole.lines()
    assert not any("\x1b" in line or "\x00" in line for line in lines)


def test_the_ring_and_the_line_are_bounded(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", b"a\n" * 500 + b"y" * 100_000)
    assert len(lines) == LINES + 1
    assert len(lines[-1]) == LINE_BYTES


async def test_a_big_file_moves_away_and_following_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path, limit=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tail.follow)
        with path.open("ab", buffering=0) as child, trio.fail_after(20):
            for number in range(6):
                child.write(b"0123456789 %d\n" % number)
                while tail.lines()[-1:] != [f"0123456789 {number}"] or path.stat().st_size:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    kept = {older.name: older.read_text() for older in files(tmp_path)}
    assert kept == {"log": "", **{f"log.{6 - number}": f"0123456789 {number}\n"[-10:] for number in (5, 4, 3)}}
    assert {stat.S_IMODE(older.stat().st_mode) for older in files(tmp_path) if older.suffix != ""} == {0o600}


async def test_what_is_written_while_the_file_moves_away_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Else an engine that says much and dies would not be heard to say why."""
    path = tmp_path / "log"
    path.write_text("")
    tail, copy = Tail(path, limit=10), shutil.copyfileobj

    def slow(source: BinaryIO, target: BinaryIO, size: int) -> None:
        with path.open("a") as file:
            file.write("last words\nand a b")
        copy(source, target, size)

    monkeypatch.setattr("shutil.copyfileobj", slow)
    path.write_text("0123456789 much\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tail.follow)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with path.open("a") as file:
        file.write("reath\n")
    tail.poll()
    assert tail.lines() == ["0123456789 much", "last words", "and a breath"]
    assert tail.count == 3


def test_on_a_full_disk_the_cut_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    tail = Tail(path, clock=Clock())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    tail.rotate()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    path.write_text("new\n")
    tail.poll()
    assert tail.lines() == ["new"]


FLOOD = """
import os, sys
line = b"\\x1b[31m\\xff flood " + b"z" * 80 + b"\\n"
long = b"y" * 2**20 + b"\\n"
for _ in range(50): os.write(1, line * (2**20 // len(line))); os.write(1, long)
os.write(1, b"the end\\n")
"""


async def test_a_flood_of_100_mb_costs_neither_memory_nor_the_child_anything(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    slow = Reader(lambda: tail, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tail.follow)
        child = Process.child(spawn([sys.executable, "-c", FLOOD], {}, path))
        with trio.fail_after(50):
            await child.wait()
            while tail.lines()[-1:] != ["the end"]:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert child.exit_code() == 0
    child.collect()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024, "KiB"
    assert tail.dropped > 1000
    assert sum(file.stat().st_size for file in files(tmp_path)) < 110 * 2**20
    piece = await slow.receive()
    assert piece.lines[-1] == "the end"
    assert piece.missed + len(piece.lines) == tail.count


def test_half_a_line_after_a_gap_is_not_shown(tmp_path: Path) -> None:
    secret = b"hush"
    text = b"first\n" + b"a\n" * 200_000 + b"x" * 300_000 + secret + b"\nlast\n"
    assert written(tmp_path / "log", text) == ["last"]


async def test_a_reader_gets_what_is_new_and_is_told_what_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    first, second = Tail(path), Tail(tmp_path / "next")
    current = first

    def write(text: str) -> None:
        with path.open("a") as file:
            file.write(text)
        first.poll()

    write("1\n2\n3\n")
    reader, late = Reader(lambda: current, 2), Reader(lambda: current, 0)
    assert await reader.receive() == Piece(["2", "3"], 0)
    write("4\nopen")
    assert await reader.receive() == Piece(["4"], 0)
    write("\n" * 2 + "z\n" * (LINES + 50))
    assert await reader.receive() == Piece(["z"] * LINES, 51)
    assert (await late.receive()).missed == 52
    write("last words\n")
    (tmp_path / "next").write_text("hello\n")
    second.poll()
    current = second
    assert await reader.receive() == Piece(["last words"], 0)
    assert await reader.receive() == Piece(["hello"], 0)
    with trio.move_on_after(0.5) as scope:
        await reader.receive()
    assert scope.cancelled_caught, "nothing is new"


def test_only_new_bytes_are_a_sign_of_life(tmp_path: Path) -> None:
    clock = Clock()
    tail = Tail(tmp_path / "log", clock=clock)
    clock.now = 5.0
    tail.poll()
    assert tail.last_change == 0.0
    (tmp_path / "log").write_bytes(b".")
    tail.poll()
    assert tail.last_change == 5.0
