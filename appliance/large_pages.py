"""Our own memory in large pages.

The processor finds memory through a table with one line for every page, of which it knows a few thousand by heart. A
page has 4 KiB unless somebody asks for more, and one request touches so much all over our memory that the table is read
again and again, which in a virtual machine takes longest. In pages of 2 MiB the whole of it is some twenty lines.

Linux makes them on request, of memory that is in use already (`MADV_COLLAPSE`, since 6.1; madvise(2)). What is not
nearly all in use stays as it is, so they cost no memory. Where the machine's owner has switched them off, and where the
kernel cannot make them, nothing happens: they only save time.
"""

import ctypes
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

_LOG = logging.getLogger(__name__)
_COLLAPSE = 25
_SWITCH = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS = Path("/proc/self/smaps")
_LARGEST = 16 * 2**20  # bytes; with 64 KiB as its small page, an ARM kernel has large ones of 512 MiB
_IN_USE = 0.9  # of an area, at least
_FIRST = 1.0  # second until the next look: most of what a server needs it takes soon after its start
_LAST = 600.0
_AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)$")
_FIGURE = re.compile(r"^(Rss|AnonHugePages): +(\d+) kB$")

Span = tuple[int, int]


def wanted(switch: str) -> bool:
    """Whether the machine's owner has not switched them off; the text of the kernel's file `enabled`."""
    return "[never]" not in switch


def worth_it(smaps: str, page: int) -> list[Span]:
    """The spans of whole large pages, begin and end, in areas that are nearly all in use and not made of them yet.

    Args:
        smaps: the kernel's list of our areas, each with its figures.
        page: bytes of a large page.
    """
    spans = []
    for area, figures in _areas(smaps):
        begin, end = -(-area[0] // page) * page, area[1] // page * page
        if begin < end and figures["Rss"] >= _IN_USE * (area[1] - area[0]) and figures["AnonHugePages"] < end - begin:
            spans.append((begin, end))
    return spans


def _areas(smaps: str) -> Iterator[tuple[Span, dict[str, int]]]:
    """Areas that hold what we made ourselves, and their figures in bytes."""
    area: Span | None = None
    figures: dict[str, int] = {}
    for line in [*smaps.splitlines(), "0-0 ---p 0 0 0"]:
        if found := _AREA.match(line):
            if area is not None:
                yield area, figures
            begin, end, rights, inode, name = found.groups()
            ours = rights == "rw-p" and inode == "0" and name in ("", "[heap]")
            area, figures = ((int(begin, 16), int(end, 16)) if ours else None), {"Rss": 0, "AnonHugePages": 0}
        elif area is not None and (figure := _FIGURE.match(line)):
            figures[figure[1]] = int(figure[2]) * 1024


def collapse(page: int) -> int:
    """Ask for all that are worth it; how many bytes the kernel has moved. Blocks for about a millisecond a page."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    spans = worth_it(_MAPS.read_text(encoding="utf-8"), page)
    return sum(end - begin for begin, end in spans if madvise(begin, end - begin, _COLLAPSE) == 0)


async def _asked(page: int) -> int:
    return await trio.to_thread.run_sync(collapse, page, thread_name="large pages")


async def keep(ask: Callable[[int], Awaitable[int]] = _asked, switch: Path = _SWITCH) -> None:
    """Ask again and again, ever less often, until cancelled; not where they are unknown or switched off.

    Args:
        ask: as `collapse`.
        switch: where the kernel says what it can do and may do.
    """
    try:
        page = int((switch / "hpage_pmd_size").read_text(encoding="ascii"))
        if page > _LARGEST or not wanted((switch / "enabled").read_text(encoding="ascii")):
            return
        pause = _FIRST
        while True:
            made = await ask(page)
            _LOG.debug("%d MiB more of our memory are in large pages", made // 2**20)
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST)
    except (OSError, ValueError) as error:
        _LOG.debug("no large pages: %s", error)
