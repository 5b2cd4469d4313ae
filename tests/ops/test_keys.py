"""Keys that are made, rotated and revoked while a server runs, as their owner and their users meet it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.cli.main import main
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m", "--tokens", "5")) as running:
        running.ready("m")
        yield running


def keys(box: Product, *words: str, code: int = 0) -> str:
    """What `appliance keys` prints, on the socket of the state directory."""
    told, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(wrong):
        found = main(["keys", *words, "--config", str(box.config)])
    assert found == code, wrong.getvalue()
    return (wrong if code else told).getvalue().strip()


def ask(box: Product, key: str) -> httpx.Response:
    return httpx.post(f"{box.url}/v1/chat/completions", json=ASK, headers={"x-api-key": key}, timeout=60)


def order(box: Product, key: str, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(method, f"{box.url}/ops/v1/keys{path}", headers=headers, json=body, timeout=60)


def audits(box: Product) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in box.written().splitlines()]
    return [line for line in lines if line["logger"] == "appliance.audit"]


def test_a_key_works_from_the_moment_that_it_is_printed_until_it_is_revoked(box: Product) -> None:
    key = keys(box, "create", "one", "--limit", "requests_per_minute=2")
    assert ask(box, key).status_code == 200
    assert ask(box, key).headers["x-ratelimit-remaining-requests"] == "0"
    assert ask(box, key).status_code == 429
    keys(box, "revoke", "one")
    refused = ask(box, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert refused.json()["error"]["message"].startswith("This key was revoked.")
    told = [(line["action"], line["target"], line["by"], line["ok"]) for line in audits(box)]
    assert told[-2:] == [("keys create", "one", "ops.sock", True), ("keys revoke", "one", "ops.sock", True)]
    assert key not in box.log.read_text()


def test_a_rotated_key_has_a_grace_and_an_expired_one_says_so(box: Product) -> None:
    old = keys(box, "create", "two")
    new = keys(box, "rotate", "two", "--grace", "3s")
    assert ask(box, old).status_code == ask(box, new).status_code == 200
    box.until(lambda: ask(box, old).status_code == 401, 20)
    assert "This key was replaced by a new one" in ask(box, old).text
    assert ask(box, new).status_code == 200
    short = keys(box, "create", "three", "--expires", "2s")
    assert ask(box, short).status_code == 200
    box.until(lambda: ask(box, short).status_code == 401, 20)
    assert "This key has expired" in ask(box, short).text


def test_the_same_over_http_with_a_key_that_may(box: Product) -> None:
    admin, plain = keys(box, "create", "root", "--scope", "admin"), keys(box, "create", "plain")
    for key, status in ((plain, 403), ("sk-wrong", 401)):
        for method, path in (("GET", ""), ("POST", ""), ("POST", "/rotate/plain"), ("POST", "/revoke/plain")):
            assert order(box, key, method, path).status_code == status
    made = order(box, admin, "POST", "", {"name": "http", "tags": ["x"], "expires": "2h"})
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    assert ask(box, made.json()["key"]).status_code == 200
    rows = {row["name"]: row for row in order(box, admin, "GET", "").json()["keys"]}
    assert rows["tester"]["source"] == "configuration"
    assert rows["http"]["start"] == made.json()["key"][:7]
    assert made.json()["key"] not in order(box, admin, "GET", "").text
    fresh = order(box, admin, "POST", "/rotate/http?grace=1h").json()
    assert ask(box, fresh["key"]).status_code == ask(box, made.json()["key"]).status_code == 200
    assert order(box, admin, "POST", "/revoke/http").json()["changed"] is True
    assert order(box, admin, "POST", "/revoke/http").json()["changed"] is False
    assert audits(box)[-1]["by"] == "root"
    for path, body, status in (
        ("", {"name": "plain"}, 409),
        ("", {"name": "tester"}, 409),
        ("/revoke/tester", None, 409),
        ("/rotate/nobody", None, 409),
        ("", {"name": "x", "colour": "red"}, 422),
        ("", {"scopes": ["infer"]}, 422),
        ("/rotate/plain?grace=soon", None, 422),
    ):
        refused = order(box, admin, "POST", path, body)
        assert refused.status_code == status, refused.text
    assert "edit the file" in order(box, admin, "POST", "/revoke/tester").text
    assert audits(box)[-1]["ok"] is False


def test_a_change_beside_the_server_is_in_effect_within_seconds(box: Product, tmp_path: Path) -> None:
    """As after a copy from a backup, or by a command that could not reach the socket."""
    key = keys(box, "create", "kept")
    store = box.state / "s" / "keys.json"
    before = store.read_bytes()
    keys(box, "revoke", "kept")
    assert ask(box, key).status_code == 401
    (tmp_path / "k").write_bytes(before)
    (tmp_path / "k").rename(store)
    box.until(lambda: ask(box, key).status_code == 200, 20)


def test_keys_and_a_reload_and_a_kill(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m")) as box:
        box.ready("m")
        key, other = keys(box, "create", "a"), keys(box, "create", "b")
        keys(box, "revoke", "b")
        os.kill(box.process.pid, signal.SIGHUP)
        box.said("in effect")
        assert (ask(box, key).status_code, ask(box, other).status_code) == (200, 401)
        os.kill(box.process.pid, signal.SIGKILL)
        box.process.wait(10)
        meanwhile = keys(box, "create", "c")  # no server runs: the file is changed
        box.start()
        box.ready("m")
        assert [ask(box, text).status_code for text in (key, other, meanwhile)] == [200, 401, 200]
        assert not [path for path in (box.state / "s").iterdir() if key.encode() in _content(path)]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_requests_go_on_while_keys_come_and_go(box: Product) -> None:
    """No request of a key that is not touched fails."""
    key = keys(box, "create", "steady")
    end, failed, count = time.monotonic() + 3, 0, 0
    making = subprocess.Popen(
        [sys.executable, "-m", "appliance", "keys", "create", "come-and-go", "--config", str(box.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with httpx.Client(headers={"x-api-key": key}, timeout=60) as client:
        while time.monotonic() < end:
            failed += client.post(f"{box.url}/v1/chat/completions", json=ASK).status_code != 200
            count += 1
    assert making.wait(60) == 0
    assert count > 10
    assert failed == 0
