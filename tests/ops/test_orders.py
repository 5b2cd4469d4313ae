"""The routes over a real server with scripted engines, and through the command line."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ADMIN = "sk-admin-canary-1b2c"
ADMIN_TABLE = (
    f'[[keys]]\nname = "root"\nhash = "sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}"\nscopes = ["admin"]\n'
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = ADMIN_TABLE + runtime("m") + runtime("broken", "--fail", "architecture")
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("m")
        yield running


def ask(box: Product, method: str, path: str, key: str | None = ADMIN) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.request(method, box.url + path, headers=headers, timeout=60)


def command(box: Product, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "appliance", *words, "--url", box.url]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env=box.environment | {"APPLIANCE_KEY": ADMIN}
    )


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("sk-wrong", 401), ("sk-test-canary-7f3a9c", 403)])
def test_only_an_admin_may(box: Product, key: str | None, status: int) -> None:
    assert ask(box, "GET", "/ops/v1/state", key).status_code == status
    assert ask(box, "POST", "/ops/v1/unload/m", key).status_code == status


def test_the_state_of_everything_without_a_secret(box: Product) -> None:
    box.until(lambda: "quarantined" in ask(box, "GET", "/ops/v1/state").text, 30)
    reply = ask(box, "GET", "/ops/v1/state")
    rows = {row["replica"]: row for row in reply.json()["replicas"]}
    assert rows["m"]["state"] == "ready"
    assert rows["m"]["pid"] in box.engines()
    assert rows["broken"]["cause"] == "config"
    assert rows["broken"]["advice"]
    assert "credential" not in reply.text
    assert "endpoint" not in reply.text


def test_orders_are_idempotent(box: Product) -> None:
    for order, state in (("unload", "stopped"), ("load", "ready")):
        first, second = (ask(box, "POST", f"/ops/v1/{order}/m").json() for _ in range(2))
        assert (first["ok"], first["changed"], first["state"]) == (True, True, state)
        assert (second["ok"], second["changed"], second["state"]) == (True, False, state)


def test_an_order_that_cannot_be_done_says_why(box: Product) -> None:
    reply = ask(box, "POST", "/ops/v1/load/broken")
    assert reply.status_code == 409
    assert "unknown model architecture" in reply.json()["detail"] or "not supported" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/ops/v1/load/nobody", 404),
        ("GET", "/ops/v1/load/m", 405),
        ("GET", "/ops/v1/logs/m?last=0", 422),
        ("GET", "/ops/v1/logs/m?last=x", 422),
        ("GET", "/ops/v1/nothing", 404),
    ],
)
def test_bad_input_is_told(box: Product, method: str, path: str, status: int) -> None:
    reply = ask(box, method, path)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_logs_and_the_command_line(box: Product) -> None:
    assert ask(box, "GET", "/ops/v1/logs/m?last=5").json()["lines"]
    assert ask(box, "GET", "/ops/v1/explain/m").json()["argv"]


def test_the_commands(box: Product) -> None:
    status = command(box, "status")
    assert status.returncode == 0
    assert "ready" in status.stdout
    assert "appliance load broken" in status.stdout
    before = json.loads(command(box, "status", "--json").stdout)
    assert command(box, "restart", "m").stdout == "m is ready\n"
    after = json.loads(command(box, "status", "--json").stdout)
    assert [row["pid"] for row in before["replicas"]] != [row["pid"] for row in after["replicas"]]
    assert command(box, "load", "broken").returncode == 1
    assert command(box, "load", "nobody").returncode == 2
    assert command(box, "logs", "m").stdout
    told = [command(box, *words) for words in (("drain", "m"), ("unload", "m"), ("load", "m"))]
    assert [done.returncode for done in told] == [0, 0, 0]
    assert ADMIN not in box.log.read_text() + "".join(done.stdout + done.stderr for done in told)
    assert Path(box.config).exists()
