import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.supervisor import cgroup
from appliance.supervisor import tree as tree_module
from appliance.supervisor.cgroup import Home, Leaf, directory_of, home_at, mount_of, own_path
from appliance.supervisor.proc import stuck_words
from appliance.supervisor.process import Process
from appliance.supervisor.spawn import launch
from appliance.supervisor.tree import Tags, Tree

UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1 = HYBRID.rsplit("\n", 2)[0]
OURS = "9:name=systemd:/x\n0::/system.slice/appliance.service\n"


@pytest.mark.parametrize(
    ("mountinfo", "own", "directory"),
    [
        (UNIFIED, OURS, "/sys/fs/cgroup/system.slice/appliance.service"),
        (HYBRID, OURS, "/sys/fs/cgroup/unified/system.slice/appliance.service"),
        (V1, OURS, None),
        (UNIFIED, "1:memory:/x\n", None),
        (UNIFIED, "0::/\n", "/sys/fs/cgroup"),
        ("1 2 0:1 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/7/x\n", "/sys/fs/cgroup/x"),
        ("1 2 0:1 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/78\n", None),
        (UNIFIED, "0::/../other\n", None),
        ("1 2 0:1 / /my\\040cgroups rw a:1 b:2 - cgroup2 c rw\n", "0::/x\n", "/my cgroups/x"),
        ("1 2 0:1 / /x rw - tmpfs cgroup2 rw\n", OURS, None),
    ],
)
def test_our_own_cgroup_is_found_in_the_kernels_tables(mountinfo: str, own: str, directory: str | None) -> None:
    found = directory_of(mountinfo, own)
    assert found == (Path(directory) if directory else None)


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_is_read_without_an_error(mountinfo: str, own: str) -> None:
    mount_of(mountinfo)
    own_path(own)
    directory_of(mountinfo, "0::/" + own)


def test_a_cgroup_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    assert home_at(tmp_path) is None, "a directory is no cgroup"
    (tmp_path / "cgroup.events").write_text("populated 1\n")
    assert home_at(tmp_path) is None


def test_a_leaf_that_is_not_there_is_empty_and_cannot_be_killed(tmp_path: Path) -> None:
    leaf = Leaf(tmp_path / "absent")
    assert (leaf.populated, leaf.pids(), leaf.kill(), leaf.peak, leaf.oom_kills) == (False, set(), False, None, None)
    assert leaf.remove()
    assert cgroup.adopt(str(leaf.path), "i") is None
    assert cgroup.oom_kills_of_machine() >= 0


# From here on with the kernel.


def _hierarchy() -> Path | None:
    mount = mount_of(Path("/proc/self/mountinfo").read_text())
    return Path(mount[1]) if mount else None


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup that is marked as handed over to us."""
    top = _hierarchy()
    if top is None:
        pytest.skip("no version 2 cgroups are mounted here")
    ours = top / f"appliance-test-{uuid.uuid4().hex[:8]}"
    try:
        ours.mkdir()
    except OSError as error:
        pytest.skip(f"may not make a cgroup in {top}: {error.strerror}")
    try:
        if os.geteuid() == 0:
            os.setxattr(ours, "trusted.delegate", b"1")
        yield ours
    finally:
        Leaf(ours).kill()
        for _ in range(500):
            if Leaf(ours).remove():
                break
            trio.run(trio.sleep, 0.01)
    assert not ours.exists()


@pytest.fixture
def home(delegated: Path) -> Home:
    found = home_at(delegated)
    assert found == Home(delegated)
    return found


@pytest.fixture
def leaf(home: Home) -> Leaf:
    found = home.leaf(Tags("i", "big/model@1"))
    assert found is not None
    assert found == home.leaf(Tags("i", "big/model@1"))
    assert found != home.leaf(Tags("j", "big/model@1"))
    assert found.path.name == "big%2Fmodel@1.i.replica"
    return found


def test_root_needs_the_mark_of_delegation(delegated: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("for another user, being able to write is the mark")
    (delegated / "plain").mkdir()
    assert home_at(delegated / "plain") is None


def test_below_a_subgroup_of_the_service_manager_memory_is_accounted(delegated: Path) -> None:
    (delegated / cgroup.SUBGROUP).mkdir()
    found = home_at(delegated / cgroup.SUBGROUP)
    assert found is not None
    assert found.path == delegated
    leaf = found.leaf(Tags("i", "m"))
    assert leaf is not None
    controllers = (delegated / "cgroup.controllers").read_text().split()
    assert found.accounts is ("memory" in controllers)
    assert (leaf.peak is not None) is ("memory" in controllers)
    assert (leaf.oom_kills == 0) is ("memory" in controllers)


async def ended(process: Process) -> None:
    with trio.fail_after(10):
        await process.wait()


SHOW = "import os, sys; print(open('/proc/self/cgroup').read(), sys.argv[1:], sorted(os.environ), os.getsid(0) == os.getpid())"


async def test_a_child_is_in_its_leaf_before_its_program_begins(leaf: Leaf, tmp_path: Path) -> None:
    words = ["a b", "$HOME", "'", ""]
    process = launch(
        [sys.executable, "-c", SHOW, *words], {"LC_CTYPE": "C.UTF-8", "K": "v"}, tmp_path / "log", leaf=leaf
    )
    await ended(process)
    process.collect()
    said = (tmp_path / "log").read_text()
    assert f"{leaf.path.name}\n" in said
    assert str(words) in said
    assert said.rstrip().endswith("True")
    assert [name for name in ("'K'", "'LC_CTYPE'") if name not in said] == []
    assert not leaf.populated
    assert leaf.remove()


async def test_a_variable_the_shell_cannot_name_is_not_lost(leaf: Leaf, tmp_path: Path) -> None:
    script = "import os, time; print(os.environ['a.b'], flush=True); time.sleep(60)"
    process = launch([sys.executable, "-c", script], {"a.b": "c"}, tmp_path / "log", leaf=leaf)
    assert leaf.pids() == {process.pid}
    with trio.fail_after(10):
        while (tmp_path / "log").read_text() != "c\n":
            await trio.sleep(0.01)
    assert leaf.kill()
    await ended(process)
    process.collect()


async def test_a_leaf_that_cannot_be_entered_is_done_without(tmp_path: Path) -> None:
    process = launch(["/bin/echo", "on"], {}, tmp_path / "log", leaf=Leaf(tmp_path / "absent"))
    await ended(process)
    assert process.exit_code() == 0
    process.collect()
    assert (tmp_path / "log").read_text() == "on\n"


# Every process of this storm makes the next one in a session of its own, without any tag, and goes.
STORM = """
import os, time
os.environ.clear()
print("up", flush=True)
for _ in range(3000):
    if os.fork(): os._exit(0)
    os.setsid(); time.sleep(0.002)
"""
HIDES = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={}, start_new_session=True)
print("up", flush=True); time.sleep(60)
"""


@pytest.mark.parametrize("script", [STORM, HIDES])
async def test_the_cgroup_ends_what_neither_session_nor_tags_find(leaf: Leaf, tmp_path: Path, script: str) -> None:
    tags = Tags(uuid.uuid4().hex, "r")
    process = launch([sys.executable, "-c", script], dict(tags.env()), tmp_path / "log", leaf=leaf)
    with trio.fail_after(10):
        while "up" not in (tmp_path / "log").read_text():
            await trio.sleep(0.01)
    with trio.fail_after(10):
        assert await Tree(process, tags, leaf).stop(0) == []
    assert not leaf.populated
    process.collect()
    assert leaf.remove()


async def test_cgroups_below_the_leaf_belong_to_it(leaf: Leaf, tmp_path: Path) -> None:
    process = launch(["/bin/sleep", "60"], {}, tmp_path / "log", leaf=leaf)
    below = leaf.path / "own"
    below.mkdir()
    with trio.fail_after(10):
        while leaf.pids() != {process.pid}:
            await trio.sleep(0.01)
    assert Leaf(below).add(process.pid)
    assert leaf.pids() == {process.pid}
    assert leaf.populated
    assert not leaf.remove()
    assert cgroup.adopt(str(leaf.path), "i") == leaf
    assert cgroup.adopt(str(leaf.path), "j") is None
    assert cgroup.adopt("", "i") is None
    assert await Tree(process, Tags("no", "tags"), leaf).stop(0) == []
    process.collect()
    assert leaf.remove()


async def test_a_frozen_leaf_of_version_2_ends_all_the_same(leaf: Leaf, tmp_path: Path) -> None:
    process = launch(["/bin/sleep", "60"], {}, tmp_path / "log", leaf=leaf)
    (leaf.path / "cgroup.freeze").write_text("1")
    with trio.fail_after(10):
        assert await Tree(process, Tags("no", "tags"), leaf).stop(0) == []
    assert process.exit_code() == -signal.SIGKILL
    process.collect()


def _version_1(controller: str) -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        if words[words.index("-") + 1] == "cgroup" and controller in words[-1].split(","):
            place = Path(words[4]) / f"appliance-test-{uuid.uuid4().hex[:8]}"
            try:
                place.mkdir()
            except OSError as error:
                pytest.skip(f"may not make a cgroup in {words[4]}: {error.strerror}")
            return place
    pytest.skip(f"no version 1 {controller} controller is mounted here")


async def test_a_child_that_kill_does_not_end_is_handed_back_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "LAST_RESORT", 1.0)
    freezer = _version_1("freezer")
    tags = Tags(uuid.uuid4().hex, "r")
    process = launch(["/bin/sleep", "60"], dict(tags.env()), tmp_path / "log")
    try:
        (freezer / "cgroup.procs").write_text(str(process.pid))
        (freezer / "freezer.state").write_text("FROZEN")
        with trio.fail_after(10):
            while (freezer / "freezer.state").read_text() != "FROZEN\n":
                await trio.sleep(0.01)
        began = trio.current_time()
        assert await Tree(process, tags).stop(1) == [process.pid]
        assert trio.current_time() - began < 10
        assert "state D in " in stuck_words(process.pid)
        assert process.exit_code() is None
    finally:
        (freezer / "freezer.state").write_text("THAWED")
    await ended(process)
    assert await Tree(process, tags).stop(0) == []
    assert process.exit_code() in (-signal.SIGTERM, -signal.SIGKILL)
    process.collect()
    freezer.rmdir()


def test_what_the_kernel_ends_for_want_of_memory_is_counted(tmp_path: Path) -> None:
    memory = _version_1("memory")
    (memory / "memory.limit_in_bytes").write_text("50M")
    before = cgroup.oom_kills_of_machine()
    script = "import sys; input(); data = [bytearray(2**20) for _ in range(200)]"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        (memory / "cgroup.procs").write_text(str(child.pid))
        child.communicate(b"\n", timeout=30)
    assert child.returncode == -signal.SIGKILL
    assert cgroup.oom_kills_of_machine() > before
    memory.rmdir()
