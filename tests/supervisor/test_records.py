import json
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain.secret import Secret
from appliance.supervisor import proc
from appliance.supervisor.records import Facts, Record, Saved, facts_now, fingerprint, forget, load, parse, save, verify
from appliance.supervisor.tree import Tags

KEY = Secret("hush-hush")
TAGS = Tags("an-instance", "big model/7b@1")


def record(**facts: object) -> Record:
    values: dict[str, object] = {
        "replica": TAGS.replica,
        "runtime": "big model/7b",
        "pid": 4711,
        "start": 99,
        "boot": "b",
        "scheme": "unix",
        "host": "/run/x.sock",
        "port": 0,
        "config": "c",
        "log": "/x.log",
        "started": 1.5,
    }
    return Record(**(values | facts))  # type: ignore[arg-type]


def file_of(run_dir: Path) -> Path:
    return next(path for path in run_dir.iterdir() if path.name.endswith(".replica.json"))


def test_a_record_comes_back_with_its_key_and_both_are_private(tmp_path: Path) -> None:
    save(tmp_path, record(), KEY)
    save(tmp_path, other := record(replica="..", port=0), None)
    assert load(tmp_path) == [Saved(other, None), Saved(record(), KEY)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert "hush" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert record().address.host == "/run/x.sock"


def test_a_record_is_replaced_and_forgotten_and_its_key_goes_with_it(tmp_path: Path) -> None:
    save(tmp_path, record(), KEY)
    save(tmp_path, record(ready=2.0, learned=0.5), None)
    assert load(tmp_path) == [Saved(record(ready=2.0, learned=0.5), None)]
    save(tmp_path, record(), KEY)
    forget(tmp_path, TAGS.replica)
    forget(tmp_path, TAGS.replica)
    forget(tmp_path / "absent", TAGS.replica)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cut_anywhere_is_no_record_and_hides_no_other(tmp_path: Path) -> None:
    save(tmp_path, record(log="/x" * 300), KEY)
    save(tmp_path, record(replica="z"), None)
    file = next(path for path in tmp_path.iterdir() if "big" in path.name and path.suffix == ".json")
    whole = file.read_bytes()
    assert len(whole) > 800
    for length in range(len(whole) - 1):
        file.write_bytes(whole[:length])
        assert [saved.record.replica for saved in load(tmp_path)] == ["z"]


def test_kill_at_any_moment_leaves_the_old_record_or_the_new(tmp_path: Path) -> None:
    writer = (
        "import json, sys\nfrom pathlib import Path\n"
        "from appliance.domain.secret import Secret\nfrom appliance.supervisor.records import Record, save\n"
        "values = json.loads(sys.argv[2]); n = 0\nprint('up', flush=True)\n"
        "while True:\n"
        "    n += 1\n    save(Path(sys.argv[1]), Record(**values | {'port': n}), Secret(f'key-{n}'))\n"
    )
    values = json.dumps({field: getattr(record(), field) for field in record().__slots__})
    chance = random.Random(7)
    save(tmp_path, record(), Secret("key-0"))
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", writer, str(tmp_path), values], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            try:
                process.wait(chance.uniform(0.01, 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
        (saved,) = load(tmp_path)
        assert saved.record == record(port=saved.record.port)
        assert saved.key is not None
        assert int(saved.key.reveal.removeprefix("key-")) - saved.record.port in (0, 1), "the key goes first"
        save(tmp_path, record(), Secret("key-0"))
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("step", ["open", "fsync", "write", "rename"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    save(tmp_path, record(), KEY)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(Path, "rename", full)
        else:
            patch.setattr(os, step if step != "write" else "fdopen", full)
        with pytest.raises(OSError, match="No space"):
            save(tmp_path, record(port=9), KEY)
    assert load(tmp_path) == [Saved(record(), KEY)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    save(tmp_path, record(), None)
    file = file_of(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    file.with_name(file.name + ".new").symlink_to(elsewhere)
    assert load(tmp_path) == []
    before = elsewhere.read_bytes()
    save(tmp_path, record(port=3), None)
    assert elsewhere.read_bytes() == before
    assert load(tmp_path)[0].record.port == 3


def test_a_record_under_anothers_name_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, record(), None)
    file_of(tmp_path).rename(tmp_path / "other.replica.json")
    assert load(tmp_path) == []


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_none(data: bytes) -> None:
    assert parse(data) is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3)


@settings(deadline=None)
@given(st.sampled_from([*record().__slots__, "version", "more"]), JSON)
def test_a_field_of_another_kind_is_no_record(name: str, value: object) -> None:
    values = {"version": 1, **{field: getattr(record(), field) for field in record().__slots__}}
    found = parse(json.dumps(values | {name: value}).encode())
    known = name in values and name != "version"
    assert found is None or (known and type(value) in (type(values[name]), int)) or value == 1


def test_the_fingerprint_knows_flags_and_variables_but_no_secret() -> None:
    base = fingerprint(["x", "-c", "1"], {"KEY": "hush-hush", "GPU": "0"}, [KEY])
    assert base == fingerprint(["x", "-c", "1"], {"GPU": "0", "KEY": "other"}, [Secret("other")])
    others = [
        fingerprint(["x", "-c", "2"], {"KEY": "hush-hush", "GPU": "0"}, [KEY]),
        fingerprint(["x", "-c", "1"], {"KEY": "hush-hush", "GPU": "1"}, [KEY]),
        fingerprint(["x", "-c", "1"], {"GPU": "0"}, [KEY]),
        fingerprint(["x", "-c 1"], {"KEY": "hush-hush", "GPU": "0"}, [KEY]),
    ]
    assert len({base, *others}) == 5
    assert len(base) == 64


@pytest.mark.parametrize(
    ("facts", "config", "why"),
    [
        (Facts("b", 99, tagged=True), "c", None),
        (Facts("other", 99, tagged=True), "c", "restarted"),
        (Facts("", 99, tagged=True), "c", "restarted"),
        (Facts("b", None, tagged=False), "c", "has ended"),
        (Facts("b", 100, tagged=True), "c", "another process"),
        (Facts("b", 99, tagged=False), "c", "another process"),
        (Facts("b", 99, tagged=True), "d", "configuration"),
    ],
)
def test_only_what_is_provably_the_same_is_taken_over(facts: Facts, config: str, why: str | None) -> None:
    found = verify(record(), facts, config)
    assert (found is None) if why is None else (found is not None and why in found)


def test_an_innocent_process_with_the_pid_of_a_record_is_left_alone(tmp_path: Path) -> None:
    innocent = subprocess.Popen(["/bin/sleep", "60"], env={})
    found = proc.stat_of(innocent.pid)
    assert found is not None
    stale = record(pid=innocent.pid, start=found.member.start, boot=proc.boot_id())
    assert "another process" in str(verify(stale, facts_now(stale, TAGS), "c"))
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()
    assert "has ended" in str(verify(stale, facts_now(stale, TAGS), "c"))


def test_a_process_of_ours_is_recognised_and_its_zombie_is_not() -> None:
    script = "import time; print('up', flush=True); time.sleep(60)"
    ours = subprocess.Popen([sys.executable, "-c", script], env=dict(TAGS.env()), stdout=subprocess.PIPE)
    assert ours.stdout
    ours.stdout.readline()
    found = proc.stat_of(ours.pid)
    assert found is not None
    good = record(pid=ours.pid, start=found.member.start, boot=proc.boot_id())
    assert good.member == found.member
    assert verify(good, facts_now(good, TAGS), "c") is None
    os.kill(ours.pid, signal.SIGKILL)
    os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
    assert "has ended" in str(verify(good, facts_now(good, TAGS), "c"))
    ours.communicate()
