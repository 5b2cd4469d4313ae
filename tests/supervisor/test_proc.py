import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain.status import Footprint
from appliance.supervisor.proc import (
    Member,
    boot_id,
    carries,
    footprint,
    parse_stat,
    processes,
    send,
    stat_of,
    stuck_words,
)

LINE = b"7 (a) b (c)) %s 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 %d 0 99 1 2"


def test_a_command_name_may_hold_anything() -> None:
    stat = parse_stat(7, LINE % (b"S", 1))
    assert (stat.member, stat.parent, stat.group, stat.session, stat.alive) == (Member(7, 99), 3, 4, 5, True)


def test_what_a_process_uses_is_told_with_it() -> None:
    stat = parse_stat(7, LINE % (b"S", 1))
    assert stat.cpu == (5 + 6 + 7 + 8) / os.sysconf("SC_CLK_TCK")
    assert stat.resident == 2 * os.sysconf("SC_PAGE_SIZE")


def test_some_processes_use_what_they_use_together_and_who_is_gone_uses_nothing() -> None:
    me = stat_of(os.getpid())
    assert me is not None
    alone = footprint([me.member])
    assert (alone.processes, alone.resident > 2**20, alone.cpu > 0) == (1, True, True)
    assert footprint([me.member, Member(me.member.pid, me.member.start + 1), Member(2**22 + 1, 5)]).processes == 1
    assert footprint([]) == Footprint()


@pytest.mark.parametrize(("state", "threads", "alive"), [(b"Z", 1, False), (b"Z", 2, True), (b"X", 1, False)])
def test_a_zombie_is_dead_when_its_last_thread_is(state: bytes, threads: int, alive: bool) -> None:
    assert parse_stat(7, LINE % (state, threads)).alive is alive


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_a_value_error(text: bytes) -> None:
    try:
        parse_stat(1, text)
    except ValueError:
        return


def test_we_are_among_the_processes_and_nobody_has_no_pid() -> None:
    me = stat_of(os.getpid())
    assert me in list(processes())
    assert me is not None
    assert (me.parent, me.group, me.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert stat_of(2**22 + 1) is None
    assert len(boot_id()) == 36


def test_a_signal_reaches_one_process_and_no_other_of_its_pid() -> None:
    script = "import time; print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], env={"MARK": "x", "OTHER": "y"}, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()  # while it begins its program, it has no environment
    stat = stat_of(child.pid)
    assert stat is not None
    assert carries(child.pid, (b"MARK=x", b"OTHER=y"))
    assert not carries(child.pid, (b"MARK=",))
    assert not send(Member(child.pid, stat.member.start + 1), signal.SIGKILL)
    assert child.poll() is None
    assert stuck_words(child.pid).startswith(f"pid {child.pid} (python")
    assert send(stat.member, signal.SIGKILL)
    assert child.wait() == -9
    child.stdout.close()
    assert not send(stat.member, signal.SIGKILL)
    assert stuck_words(child.pid) == f"pid {child.pid} (gone)"
