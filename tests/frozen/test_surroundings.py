"""Both builds where their users put them: foreign libraries, no environment, read-only places, other users, replaced files."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import KEY, KEY_TABLE, free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DIST = Path(__file__).resolve().parents[2] / "dist"
ONE_FILE, DIRECTORY = DIST / "appliance", DIST / "appliance.d"
BUILDS = {"directory": DIRECTORY / "appliance", "one file": ONE_FILE}
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
SECRETS = {"API_KEYS": "canary-api-keys", "APPLIANCE_KEY": "canary-appliance-key", "BACKEND_KEY": "canary-backend-key"}
# What a program of the machine has in its environment and in its memory, before it becomes the engine.
CHILD = (
    'tr "\\\\0" "\\\\n" </proc/self/environ >{place}/environ; curl -s file:///proc/self/maps >{place}/maps; '
    'exec {binary} _engine --socket "$1"'
)
in_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs root, and a kernel that lets it mount",
)


class Server:
    """A served configuration with one scripted model.

    Attributes:
        url: of its root.
        process: that serves.
    """

    def __init__(self, program: Path, place: Path, environment: dict[str, str], engine: str = "") -> None:
        port = free_port()
        place.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{port}"
        self.config = place / "appliance.toml"
        engine = engine or f'["{BUILDS["directory"]}", "_engine", "--socket", "{{socket}}", "--tokens", "3"]'
        self.config.write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{place}/s"\n{KEY_TABLE}\n'
            f'[[runtimes]]\nname = "m"\nengine = "command"\ncommand = {engine}\n'
        )
        self._log = (place / "log").open("wb")
        command = [str(program), "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log, cwd="/")
        self._place = place

    def ready(self) -> None:
        """Wait until the model answers."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz").json()["models"]["m"]["ready"]:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log())

    def ask(self, model: str = "m") -> int:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"x-api-key": KEY}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code

    def log(self) -> str:
        return (self._place / "log").read_text()[-4000:]

    def stop(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(60) == 0, self.log()
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


@contextlib.contextmanager
def serving(program: Path, place: Path, environment: dict[str, str], engine: str = "") -> Iterator[Server]:
    server = Server(program, place, environment, engine)
    try:
        server.ready()
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("program", BUILDS.values(), ids=BUILDS)
def test_an_engine_gets_the_machines_libraries_and_none_of_our_variables(program: Path, tmp_path: Path) -> None:
    place = tmp_path / "p"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    script = CHILD.format(place=place, binary=BUILDS["directory"]).replace('"', '\\"')
    engine = f'["/bin/sh", "-c", "{script}", "sh", "{{socket}}"]'
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    systemd = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "INVOCATION_ID": "0" * 32,
        "JOURNAL_STREAM": "8:1",
        "WATCHDOG_USEC": "30000000",
        "CREDENTIALS_DIRECTORY": "/run/credentials/appliance.service",
    }
    environment = CLEAN | SECRETS | systemd | {"LD_LIBRARY_PATH": str(foreign), "TMPDIR": str(tmp_path)}
    with serving(program, place, environment, engine) as server:
        assert server.ask() == 200
    listening.close()
    seen = dict(line.partition("=")[::2] for line in (place / "environ").read_text().splitlines() if "=" in line)
    assert seen["LD_LIBRARY_PATH"] == str(foreign)
    assert seen.pop("PYINSTALLER_RESET_ENVIRONMENT") == "1"
    ours = re.compile(
        r"_PYI|_MEI|PYINSTALLER|LD_LIBRARY_PATH_ORIG|OPENSSL_MODULES|NOTIFY|WATCHDOG|LISTEN_|JOURNAL|INVOCATION"
    )
    assert [name for name in seen if ours.match(name)] == []
    assert not set(seen) & set(SECRETS)
    assert "canary" not in (place / "environ").read_text()
    maps = (place / "maps").read_text()
    assert "libcurl" in maps
    assert "_internal" not in maps
    assert "_MEI" not in maps


@pytest.mark.parametrize("program", BUILDS.values(), ids=BUILDS)
def test_it_needs_nothing_in_its_environment(program: Path, tmp_path: Path) -> None:
    with serving(program, tmp_path / "p", {}) as server:
        assert server.ask() == 200


def test_two_of_it_run_beside_each_other(tmp_path: Path) -> None:
    with (
        serving(BUILDS["one file"], tmp_path / "a", CLEAN) as one,
        serving(BUILDS["one file"], tmp_path / "b", CLEAN) as other,
    ):
        assert (one.ask(), other.ask()) == (200, 200)


def test_a_directory_build_goes_on_after_its_files_were_replaced(tmp_path: Path) -> None:
    """As a package's upgrade does it: for a while the old process runs without any of its files."""
    home = tmp_path / "opt"
    shutil.copytree(DIRECTORY, home, symlinks=True)
    with serving(home / "appliance", tmp_path / "p", CLEAN) as server:
        shutil.rmtree(home)
        everything(server)


def test_a_single_file_goes_on_after_it_was_replaced(tmp_path: Path) -> None:
    program = tmp_path / "appliance"
    shutil.copyfile(ONE_FILE, program)
    program.chmod(0o755)
    with serving(program, tmp_path / "p", CLEAN) as server:
        program.unlink()
        program.write_text("another version")
        everything(server)


def everything(server: Server) -> None:
    """Whatever could look for a file of the program only now."""
    assert server.ask() == 200
    assert httpx.get(f"{server.url}/docs/routes", timeout=60).status_code == 200
    assert "/v1/models" in httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    assert httpx.get(f"{server.url}/metrics").status_code == 200
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    transport = httpx.HTTPTransport(uds=f"{server.config.parent}/s/ops.sock")
    with httpx.Client(transport=transport, base_url="http://x", timeout=120) as ops:
        text = server.config.read_text()
        server.config.write_text(f'{text}\n[[models]]\nname = "n"\ntargets = ["m"]\nguardrails = ["pii"]\n'
                                 '[[guardrails]]\nname = "pii"\nkind = "pii"\n')  # fmt: skip
        assert ops.post("/ops/v1/reload").json()["ok"]
        server.config.write_text("nonsense = 1")
        assert ops.post("/ops/v1/reload").status_code == 409
        assert ops.post("/ops/v1/restart/m").json()["state"] == "ready"
        assert ops.get("/ops/v1/usage").status_code == 200
        assert ops.post("/ops/v1/keys", json={"name": "bob"}).status_code == 200
    assert server.ask("n") == 200


@in_namespaces
@pytest.mark.parametrize(
    ("copied", "variables", "works"),
    [
        (DIRECTORY, [], True),
        (ONE_FILE, ["TMPDIR=/mnt/room"], True),
        (ONE_FILE, [], False),
    ],
    ids=["directory", "one file with TMPDIR", "one file without"],
)
def test_an_ordinary_user_runs_it_from_a_read_only_place_with_a_noexec_tmp(
    copied: Path, variables: list[str], works: bool
) -> None:
    program = f"/mnt/there/{copied.name}" + ("/appliance" if copied.is_dir() else "")
    script = f"""
        mount -t tmpfs tmpfs /mnt && mkdir -m 1777 /mnt/room && mkdir -m 755 /mnt/there && cp -a {copied} /mnt/there/
        mount --bind /mnt/there /mnt/there && mount -o remount,bind,ro /mnt/there
        mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp && mount -t tmpfs -o noexec,mode=1777 tmpfs /var/tmp
        cd / && exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
            env -i {" ".join(variables)} {program} selftest
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script], env=CLEAN, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode == 0) == works, done.stdout + done.stderr


def test_what_the_command_line_prints_is_the_same_from_both_builds() -> None:
    said = [
        subprocess.run([program, "version", "--json"], env={}, capture_output=True, check=True).stdout
        for program in BUILDS.values()
    ]
    assert json.loads(said[0])["version"] == json.loads(said[1])["version"]
