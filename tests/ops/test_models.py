"""Models that are added, changed, switched off and removed while a server runs, over HTTP and by the command line."""

import contextlib
import io
import json
from collections.abc import Iterator

import httpx
import pytest

from appliance.cli.main import main
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = runtime("m", "--tokens", "3") + runtime("n", "--tokens", "3") + "# The end.\n"
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("m", "n")
        yield running


@pytest.fixture(autouse=True)
def as_it_was(box: Product) -> Iterator[None]:
    """Every test leaves the file as it found it: what was added is removed."""
    before = box.config.read_bytes()
    yield
    assert box.config.read_bytes() == before


def order(box: Product, method: str, name: str, body: object = None, query: str = "") -> httpx.Response:
    transport = httpx.HTTPTransport(uds=str(box.state / "s" / "ops.sock"))
    with httpx.Client(transport=transport, base_url="http://appliance", timeout=60) as client:
        return client.request(method, f"/ops/v1/models{'/' if name else ''}{name}{query}", json=body)


def chat(box: Product, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    return box.post("/v1/chat/completions", body).status_code


def rows(box: Product) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in order(box, "GET", "").json()["models"]}


def test_a_model_lives_from_its_order_to_the_next(box: Product) -> None:
    assert chat(box, "org/smart") == 404
    added = order(box, "POST", "org%2Fsmart", {"targets": ["m"], "kind": "chat", "limits": {"concurrent": 4}})
    assert (added.status_code, added.json()["reload"]["models"]) == (200, ["org/smart"])
    assert '+name = "org/smart"\n' in added.json()["diff"]
    assert chat(box, "org/smart") == 200
    assert rows(box)["org/smart"]["state"] == "ready"
    assert order(box, "PATCH", "org/smart", {"active": False}).json()["ok"]
    assert chat(box, "org/smart") == 404
    assert (rows(box)["org/smart"]["active"], rows(box)["org/smart"]["state"]) == (False, "off")
    assert order(box, "PATCH", "org/smart", {"active": None, "kind": None}).json()["written"]
    assert chat(box, "org/smart") == 200
    assert order(box, "DELETE", "org/smart").json()["reload"]["models"] == ["org/smart"]
    assert chat(box, "org/smart") == 404


def test_a_runtimes_own_name_gets_an_entry_by_being_switched_off(box: Product) -> None:
    assert rows(box)["n"]["source"] == "runtime"
    assert order(box, "PATCH", "n", {"active": False}).json()["ok"]
    assert chat(box, "n") == 404
    assert rows(box)["n"]["targets"] == ["n"]
    assert order(box, "DELETE", "n").json()["ok"]
    assert chat(box, "n") == 200


def test_what_it_would_do_is_told_before(box: Product) -> None:
    told = order(box, "POST", "x", {"targets": ["m"]}, "?dry_run=1").json()
    assert (told["ok"], told["written"], told["reload"]["models"]) == (True, False, ["x"])
    assert chat(box, "x") == 404


@pytest.mark.parametrize(
    ("method", "name", "body", "status", "words"),
    [
        ("POST", "x", {"targets": ["gone"]}, 409, 'there is no runtime \\"gone\\"'),
        ("POST", "x", {"targets": "m"}, 409, "must be a list, not text"),
        ("POST", "x", {"target": ["m"]}, 409, "did you mean `targets`?"),
        ("POST", "x", {"targets": ["m"], "defaults": {"x": None}}, 409, "cannot hold such a value"),
        ("POST", "x", ["m"], 422, "not an object of settings"),
        ("PATCH", "nobody", {"active": False}, 404, "There is no model"),
        ("DELETE", "m", None, 404, "There is no model"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    box: Product, method: str, name: str, body: object, status: int, words: str
) -> None:
    refused = order(box, method, name, body)
    assert refused.status_code == status
    assert words in refused.text


def test_a_key_without_the_scope_may_not(box: Product) -> None:
    for method, path in (("GET", ""), ("POST", "/x"), ("PATCH", "/m"), ("DELETE", "/m")):
        headers = {"authorization": f"Bearer {KEY}"}
        assert httpx.request(method, f"{box.url}/ops/v1/models{path}", headers=headers).status_code == 403


def models(box: Product, *words: str, code: int = 0) -> str:
    """What `appliance models` prints, on the socket of the state directory."""
    told, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(wrong):
        found = main(["models", *words, "--config", str(box.config)])
    assert found == code, told.getvalue() + wrong.getvalue()
    return told.getvalue() + wrong.getvalue()


def test_the_commands(box: Product) -> None:
    assert 'name = "smart"' in models(box, "add", "smart", "m", "n", "--set", "kind=chat", "--dry-run")
    assert models(box, "add", "smart", "m", "n", "--set", "kind=chat").splitlines()[-1].startswith("It is in effect.")
    assert chat(box, "smart") == 200
    assert json.loads(models(box, "list", "--json"))["models"][0]["targets"] == ["m", "n"]
    listed = models(box, "list")
    assert "smart" in listed
    assert "ready" in listed
    assert "+active = false" in models(box, "off", "smart")
    assert chat(box, "smart") == 404
    assert "It is in effect." in models(box, "on", "smart")
    assert chat(box, "smart") == 200
    assert "Nothing differs." in models(box, "on", "smart")
    assert '+targets = ["m"]' in models(box, "set", "smart", 'targets=["m"]', "defaults={ temperature = 0.5 }")
    assert "-defaults" in models(box, "set", "smart", "defaults=")
    assert "appliance.toml:" in models(box, "set", "smart", 'targets=["gone"]', code=1)
    assert "no model" in models(box, "off", "nobody", code=2)
    assert json.loads(models(box, "remove", "smart", "--json"))["written"] is True
    assert chat(box, "smart") == 404


def test_secrets_of_a_model_are_masked_and_stay_as_they_are_when_they_are_sent_back(box: Product) -> None:
    forced = {"api_key": "canary-1", "extra": {"authorization": "Bearer canary-2"}, "seed": 1}
    added = order(box, "POST", "smart", {"targets": ["m"], "forced": forced, "defaults": {"url": "x://u:canary-3@h"}})
    shown = order(box, "GET", "")
    row = rows(box)["smart"]
    assert row["forced"] == {"api_key": "***", "extra": {"authorization": "***"}, "seed": 1}
    assert row["defaults"] == {"url": "x://***@h"}
    row["forced"]["seed"] = 2
    changed = order(box, "PATCH", "smart", {"forced": row["forced"], "defaults": row["defaults"]})
    assert changed.json()["written"]
    assert 'forced = {api_key = "canary-1", extra = {authorization = "Bearer canary-2"}, seed = 2}' in (
        box.config.read_text().replace("{ ", "{").replace(" }", "}")
    )
    assert "canary-3" in box.config.read_text()
    wrong = order(box, "PATCH", "smart", {"forced": {"password": "***"}})
    assert (wrong.status_code, "stands for no value that is there" in wrong.text) == (409, True)
    listed = models(box, "list", "--json")
    assert "canary" not in added.text + shown.text + changed.text + wrong.text + listed + box.written()
    assert order(box, "DELETE", "smart").json()["ok"]
