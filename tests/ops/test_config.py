"""The configuration over a running server: shown, checked, replaced. `tests/ops/test_models.py` has single models."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ADMIN = "sk-admin-canary-3d4e"
ADMIN_TABLE = (
    f'[[keys]]\nname = "root"\nhash = "sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}"\nscopes = ["admin"]\n'
)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = ADMIN_TABLE + runtime("m", extra='env = { A = "env-canary" }  # theirs')
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("m")
        yield running


def ask(box: Product, method: str, path: str, body: object = None, key: str = ADMIN) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(method, f"{box.url}/ops/v1/config{path}", headers=headers, json=body, timeout=60)


def here(box: Product, method: str, path: str, body: object = None) -> httpx.Response:
    """As the operator on the machine itself."""
    transport = httpx.HTTPTransport(uds=str(box.state / "s" / "ops.sock"))
    with httpx.Client(transport=transport, base_url="http://appliance", timeout=60) as client:
        return client.request(method, f"/ops/v1/config{path}", json=body)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("POST", "/check")])
def test_only_an_admin_may(box: Product, method: str, path: str) -> None:
    assert ask(box, method, path, {}, "sk-wrong").status_code == 401
    assert ask(box, method, path, {}, "sk-test-canary-7f3a9c").status_code == 403


def test_it_is_shown_without_secrets(box: Product) -> None:
    reply = ask(box, "GET", "")
    assert "canary" not in reply.text.replace('"canary":null', "")
    assert "sha256:" not in reply.text
    shown = reply.json()
    assert (shown["problems"], shown["pending"]["ok"], shown["edit"]) == ([], True, "models")
    assert shown["file"] == str(box.config)
    assert shown["effective"]["runtimes"][0]["name"] == "m"
    assert reply.headers["etag"] == f'"{shown["etag"]}"'


def test_a_broken_proposal_is_told_with_its_line_and_changes_nothing(box: Product) -> None:
    before = box.config.read_text()
    shown = here(box, "GET", "").json()
    text = shown["text"] + "[[models]]\nname = 3\ntargets = [\n'gone'\n]\n"
    told = here(box, "POST", "/check", {"text": text}).json()
    assert not told["ok"]
    line = text.count("\n") - 3
    assert [(one["line"], one["what"].partition("`")[2].partition("`")[0]) for one in told["problems"]] == [
        (line, "models[0].name"),
        (line + 2, "models[0].targets[0]"),
    ]
    refused = here(box, "PUT", "", {"text": text, "etag": shown["etag"]})
    assert (refused.status_code, refused.json()["written"]) == (409, False)
    assert box.config.read_text() == before


def test_another_text_is_put_into_effect_on_the_machine_and_not_from_afar(box: Product) -> None:
    before, mode = box.config.read_text(), box.config.stat().st_mode
    shown = ask(box, "GET", "").json()
    text = shown["text"].replace("# theirs", "# mine") + runtime("n")
    told = ask(box, "POST", "/check", {"text": text}).json()
    assert (told["ok"], told["allowed"], told["reload"]["runtimes"][0]["action"]) == (True, False, "add")
    assert '-env = { A = "***' in told["diff"]
    refused = ask(box, "PUT", "", {"text": text, "etag": shown["etag"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "config_protected")
    done = here(box, "PUT", "", {"text": text, "etag": shown["etag"]})
    assert done.status_code == 200, done.text
    box.ready("n")
    written = box.config.read_text()
    assert written == before.replace("# theirs", "# mine") + runtime("n")
    assert box.config.with_name("appliance.toml.bak").read_text() == before
    assert box.config.stat().st_mode == mode
    late = here(box, "PUT", "", {"text": shown["text"], "etag": shown["etag"]})
    assert (late.status_code, late.json()["error"]["code"]) == (412, "config_changed")
    back = here(box, "PUT", "", {"text": shown["text"], "etag": done.json()["etag"]})
    assert back.json()["reload"]["runtimes"][0]["action"] == "remove"
    assert box.config.read_text() == before


def test_who_tried_is_told(box: Product) -> None:
    etag = here(box, "GET", "").json()["etag"]
    assert here(box, "PUT", "", {"text": "[server]\ncanary_51 = 1\n", "etag": etag}).status_code == 409

    def told() -> list[str]:
        return [line for line in box.log.read_text().splitlines() if "`server.canary_51` is not a setting" in line]

    box.until(told, 20)
    assert all(word in told()[0] for word in ('"action": "config write"', '"by": "ops.sock"', '"ok": false'))
    assert "env-canary" not in box.log.read_text()


@pytest.mark.parametrize(
    ("body", "status"),
    [({"text": "x"}, 400), ({"text": "x", "etag": "old"}, 412), ({"etag": "x"}, 422), ({"text": 3}, 422), ([], 422)],
)
def test_a_proposal_that_is_none_is_told(box: Product, body: object, status: int) -> None:
    assert here(box, "PUT", "", body).status_code == status


def test_a_file_that_cannot_be_written_is_told_with_what_to_do(box: Product) -> None:
    blocking = box.config.with_name("appliance.toml.bak.new")
    blocking.mkdir()  # as a directory that takes no new file, for root too
    before: Path = box.config
    text = before.read_text()
    try:
        shown = here(box, "GET", "").json()
        refused = here(box, "PUT", "", {"text": shown["text"] + "# x\n", "etag": shown["etag"]})
    finally:
        blocking.rmdir()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "config_refused")
    assert "/docs/service" in refused.json()["error"]["message"]
    assert before.read_text() == text
