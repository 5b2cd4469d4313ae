import os
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from appliance.large_pages import collapse, keep, wanted, worth_it

PAGE = 2 * 2**20
SWITCH = Path("/sys/kernel/mm/transparent_hugepage")


def area(
    begin: int, end: int, *, rights: str = "rw-p", inode: int = 0, name: str = "", used: float = 1.0, large: int = 0
) -> str:
    """One area as in `/proc/self/smaps`."""
    size = (end - begin) // 1024
    return (
        f"{begin:x}-{end:x} {rights} 00000000 00:00 {inode}".ljust(73) + f"{name}\n"
        f"Size:           {size:8} kB\nKernelPageSize:        4 kB\nRss:            {int(size * used):8} kB\n"
        f"Anonymous:      {size:8} kB\nAnonHugePages:  {large // 1024:8} kB\nVmFlags: rd wr mr mw me ac\n"
    )


@pytest.mark.parametrize(
    ("switch", "expected"),
    [("always [madvise] never\n", True), ("[always] madvise never\n", True), ("always madvise [never]\n", False)],
)
def test_the_owner_of_the_machine_may_switch_them_off(switch: str, *, expected: bool) -> None:
    assert wanted(switch) is expected


@pytest.mark.parametrize(
    ("smaps", "spans"),
    [
        (area(0, 4 * PAGE), [(0, 4 * PAGE)]),
        (area(PAGE - 4096, 3 * PAGE + 8192, name="[heap]"), [(PAGE, 3 * PAGE)]),  # whole pages only
        (area(4096, 2 * PAGE - 4096), []),  # there is none in it
        (area(0, 4 * PAGE, used=0.89), []),  # it would take memory that is not in use
        (area(0, 4 * PAGE, large=4 * PAGE), []),  # made already
        (area(0, 4 * PAGE, large=3 * PAGE), [(0, 4 * PAGE)]),
        (area(0, 4 * PAGE, name="[stack]"), []),
        (area(0, 4 * PAGE, inode=17, name="/usr/lib/libc.so.6"), []),
        (area(0, 4 * PAGE, rights="r-xp"), []),
        (area(0, 4 * PAGE, rights="rw-s"), []),
        (
            area(0, PAGE) + area(4 * PAGE, 5 * PAGE, used=0.1) + area(6 * PAGE, 8 * PAGE),
            [(0, PAGE), (6 * PAGE, 8 * PAGE)],
        ),
        ("", []),
        ("something else\n", []),
    ],
)
def test_what_is_ours_and_in_use_is_worth_it(smaps: str, spans: list[tuple[int, int]]) -> None:
    assert worth_it(smaps, PAGE) == spans


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([0.0, 0.5, 0.95, 1.0]))))
def test_every_span_is_of_whole_pages_inside_an_area(sizes: list[tuple[int, int, float]]) -> None:
    at, areas, smaps = 0, [], ""
    for gap, size, used in sizes:
        begin = at + gap * 4096
        at = begin + size * 4096
        areas.append((begin, at))
        smaps += area(begin, at, used=used)
    for begin, end in worth_it(smaps, PAGE):
        assert begin % PAGE == end % PAGE == 0
        assert begin < end
        assert any(first <= begin and end <= last for first, last in areas)


def test_memory_in_use_is_moved_and_keeps_what_it_holds() -> None:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release < (6, 1) or not SWITCH.is_dir() or not wanted((SWITCH / "enabled").read_text(encoding="ascii")):
        pytest.skip("this machine makes no large pages on request")
    page = int((SWITCH / "hpage_pmd_size").read_text(encoding="ascii"))
    text = b"the sea " * (4 * page)
    assert collapse(page) >= 16 * page
    assert text == b"the sea " * (4 * page)
    assert collapse(page) < 16 * page, "what has been moved is not moved again"


async def test_one_asks_ever_less_often(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always [madvise] never\n", encoding="ascii")
    (tmp_path / "hpage_pmd_size").write_text(f"{PAGE}\n", encoding="ascii")
    asked: list[float] = []

    async def ask(page: int) -> int:
        await trio.lowlevel.checkpoint()
        assert page == PAGE
        asked.append(trio.current_time())
        return 0

    begun = trio.current_time()
    with trio.move_on_after(3000):
        await keep(ask, tmp_path)
    assert [round(time - begun) for time in asked] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1623, 2223, 2823]


@pytest.mark.parametrize(
    ("enabled", "size"),
    [
        ("always madvise [never]\n", f"{PAGE}\n"),
        ("[always] madvise never\n", f"{2**29}\n"),
        ("[always]\n", ""),
        ("", None),
    ],
)
async def test_nobody_asks_where_there_are_none(enabled: str, size: str | None, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text(enabled, encoding="ascii")
    if size is not None:
        (tmp_path / "hpage_pmd_size").write_text(size, encoding="ascii")

    async def ask(page: int) -> int:
        raise AssertionError(page)

    await keep(ask, tmp_path)


async def test_a_kernel_that_says_nothing_of_our_memory_ends_it(tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("[always] madvise never\n", encoding="ascii")
    (tmp_path / "hpage_pmd_size").write_text(f"{PAGE}\n", encoding="ascii")

    async def ask(page: int) -> int:
        raise FileNotFoundError(page)

    await keep(ask, tmp_path)
