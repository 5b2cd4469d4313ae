import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.secret import Secret
from appliance.supervisor.tail import LINE_BYTES, LINES, Tail, telling


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


def test_a_big_file_moves_away_and_following_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path, clock=Clock(), limit=10)
    with path.open("ab", buffering=0) as child:
        child.write(b"0123456789\n")
        tail.poll()
        assert path.stat().st_size == 0
        child.write(b"next\n")
        tail.poll()
    assert tail.lines() == ["0123456789", "next"]
    older = tmp_path / "log.1"
    assert older.read_bytes() == b"0123456789\n"
    assert stat.S_IMODE(older.stat().st_mode) == 0o600


def test_only_new_bytes_are_a_sign_of_life(tmp_path: Path) -> None:
    clock = Clock()
    tail = Tail(tmp_path / "log", clock=clock)
    clock.now = 5.0
    tail.poll()
    assert tail.last_change == 0.0
    (tmp_path / "log").write_bytes(b".")
    tail.poll()
    assert tail.last_change == 5.0


def test_the_telling_line_sounds_like_an_error_if_any_does() -> None:
    assert telling(["a", "error: no memory", "bye", ""]) == "error: no memory"
    assert telling(["a", "bye"]) == "bye"
    assert telling([]) == ""
    assert len(telling(["x" * 999])) == 300
