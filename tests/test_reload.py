"""A configuration file that changes under a running product."""

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.cli.main import main
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ADMIN = "sk-admin-canary-51"


def key(name: str, text: str, more: str = "") -> str:
    return f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(text.encode()).hexdigest()}"\n{more}\n'


ADMIN_KEY = key("admin", ADMIN, 'scopes = ["admin", "metrics", "infer"]')
ONE = runtime("one", "--tokens", "3")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Product]:
    with product(tmp_path, ADMIN_KEY + ONE) as running:
        running.ready("one")
        yield running


def change(box: Product, tables: str) -> None:
    head = box.config.read_text().partition("[[keys]]")[0]
    box.config.write_text(head + tables)


def reload(box: Product, query: str = "") -> httpx.Response:
    return httpx.post(f"{box.url}/ops/v1/reload{query}", headers={"x-api-key": ADMIN}, timeout=60)


def ask(box: Product, model: str, text: str = ADMIN) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{box.url}/v1/chat/completions", json=body, headers={"x-api-key": text}, timeout=60)


def test_keys_models_and_runtimes_come_and_go_and_what_did_not_change_is_not_touched(box: Product) -> None:
    (before,) = box.engines()
    alias = '[[models]]\nname = "alias"\ntargets = ["one"]\n'
    change(box, ADMIN_KEY + key("new", "sk-new") + ONE + runtime("two") + alias)
    told = reload(box, "?dry_run=1").json()
    assert told["ok"]
    assert ask(box, "alias", "sk-new").status_code == 401  # that was only asked for
    assert reload(box).json() == told
    assert (told["keys"], told["models"]) == (["tester", "new"], ["alias"])
    assert [(item["runtime"], item["action"]) for item in told["runtimes"]] == [("two", "add")]
    assert ask(box, "alias", "sk-new").status_code == 200
    box.ready("two")
    assert before in box.engines()
    assert reload(box).json()["runtimes"] == []

    change(box, ADMIN_KEY + runtime("two"))
    assert reload(box).json()["ok"]
    assert ask(box, "one").status_code == 404
    assert ask(box, "alias").status_code == 404
    assert ask(box, "two", "sk-new").status_code == 401
    box.until(lambda: before not in box.engines(), 30)
    box.until(lambda: 'runtime="one"' not in box.metrics(), 10)


def test_a_broken_file_changes_nothing_and_is_told_with_its_line(box: Product) -> None:
    change(box, ADMIN_KEY + ONE + '[[models]]\nname = "x"\ntargets = ["nowhere"]\n')
    answer = reload(box)
    assert answer.status_code == 409
    (line,) = [line for line in answer.json()["problems"] if "nowhere" in line]
    assert f"{box.config.name}:" in line
    assert ask(box, "one").status_code == 200
    assert 'appliance_config_loads_total{result="refused"} 1.0' in box.metrics()


def test_whether_keys_are_asked_for_needs_a_restart(box: Product) -> None:
    change(box, ONE)
    answer = reload(box).json()
    assert not answer["ok"]
    assert "restart" in answer["problems"][0]
    assert httpx.get(f"{box.url}/v1/models").status_code == 401


def test_hup_reloads_and_no_request_fails_meanwhile(box: Product) -> None:
    failed: list[object] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            reply = ask(box, "one")
            if reply.status_code != 200:
                failed.append(reply.text)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    for number in range(5):
        change(box, ADMIN_KEY + ONE + key(f"n{number}", f"sk-{number}"))
        box.process.send_signal(signal.SIGHUP)
        box.until(lambda number=number: ask(box, "one", f"sk-{number}").status_code == 200, 30)
    stop.set()
    asking.join()
    assert failed == []
    assert len(box.engines()) == 1


def test_a_changed_runtime_is_replaced_and_its_stream_ends_as_it_began(box: Product) -> None:
    change(box, ADMIN_KEY + runtime("one", "--tokens", "40", "--token-delay", "0.05"))
    assert [item["action"] for item in reload(box).json()["runtimes"]] == ["restart"]
    box.ready("one")
    body = {"model": "one", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", f"{box.url}/v1/chat/completions", json=body, headers={"x-api-key": ADMIN}) as stream:
        lines = stream.iter_lines()
        next(lines)
        change(box, ADMIN_KEY + ONE)
        assert reload(box).json()["ok"]
        text = "\n".join(lines)
    assert "data: [DONE]" in text
    assert ask(box, "one").status_code == 200


def test_the_command_says_what_changed(box: Product, capsys: pytest.CaptureFixture[str]) -> None:
    reach = ["--url", box.url, "--key-file", str(box.state / "key")]
    (box.state / "key").write_text(ADMIN)
    change(box, ADMIN_KEY + ONE + runtime("two"))
    assert main(["reload", "--dry-run", *reach]) == 0
    assert "runtime two: add" in (told := capsys.readouterr().out)
    assert told.splitlines()[-1] == "Next: appliance reload"
    assert main(["reload", "--json", *reach]) == 0
    assert json.loads(capsys.readouterr().out)["runtimes"][0]["runtime"] == "two"
    assert main(["reload", *reach]) == 0
    assert "Nothing differs." in capsys.readouterr().out
    assert main(["reload", "--dry-run", *reach]) == 0
    assert capsys.readouterr().out == "Nothing differs.\n"
    change(box, "[[models]]")
    assert main(["reload", *reach]) == 1
    assert "refused" in capsys.readouterr().out
