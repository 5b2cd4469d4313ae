"""The console of a running product, asked as a browser asks: through the door, and over HTTP/2."""

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from html import unescape

import httpx
import pytest

from tests.fakes.product import Product, product, runtime
from tests.fakes.program import PROGRAM
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", params=[False, True], ids=["http1", "http2"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("box")
    with product(folder, ADMIN_TABLE + runtime("m"), http2=request.param) as running:
        running.ready("m")
        yield running


def hidden(page: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found, page.text
    return found[1]


@contextlib.contextmanager
def logged_in(box: Product, text: str = ADMIN) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.url, verify=box.verify, http2=box.http2, timeout=60) as client:
        reply = log_in(client, text)
        assert reply.status_code == 303, reply.text
        yield client


def log_in(client: httpx.Client, text: str) -> httpx.Response:
    knock = hidden(client.get("/console/login"), "knock")
    return client.post("/console/login", data={"key": text, "to": "now", "knock": knock})


def test_a_browser_logs_in_reads_orders_and_logs_out(box: Product) -> None:
    with logged_in(box) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert '<th scope="row">m</th>' in page.text
        token = hidden(page, "token")
        done = client.post("/console/now/drain", data={"token": token, "name": "nobody"})
        assert done.headers["location"] == "/"
        assert "nobody" in client.get("/").text
        assert client.post("/console/logout", data={"token": token}).status_code == 303
        assert client.get("/").headers["location"] == "/console/login?to=now"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/console/requests?q=nothing-has-this", "Nothing is under way."),
        ("/console/playground", "<option selected>m</option>"),
        ("/console/logs", "listening on"),
        ("/console/logs?of=m", 'value="m" selected'),
        ("/console/health", "the file is what is in effect"),
    ],
)
def test_every_page_can_be_read_without_scripts(box: Product, path: str, words: str) -> None:
    with logged_in(box) as client:
        page = client.get(path)
        assert page.status_code == 200
        assert words in page.text


def test_health_has_the_checks_of_doctor_in_its_words(box: Product) -> None:
    with logged_in(box) as client:
        box.until(lambda: "Looked at" in client.get("/console/health").text.partition("This machine")[2], 60)
        argv = [*PROGRAM, "doctor", "--config", str(box.config), "--json"]
        told = json.loads(subprocess.run(argv, capture_output=True, check=False, text=True, env=box.environment).stdout)
        page = unescape(client.get("/console/health").text)
        for finding in told["findings"]:
            assert f'<th scope="row">{finding["id"]}</th>' in page
            assert finding["fix"] in page
        token = hidden(client.get("/console/health"), "token")
        again = client.post("/console/health/examine", data={"token": token})
        assert (again.status_code, again.headers["location"]) == (303, "/console/health")
        assert re.search("looked at again|under way", client.get("/console/health").text), "a busy machine takes long"
        assert client.post("/console/health/examine", data={"token": "wrong"}).status_code == 403


def test_a_chat_is_streamed_and_accounted_to_the_console(box: Product) -> None:
    with logged_in(box) as client:
        found = re.search(r'data-token="([^"]+)"', client.get("/console/playground").text)
        assert found
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        asked = {"x-console-token": found[1]}
        reply = client.post("/console/playground/chat", json=body, headers=asked)
        assert reply.headers["content-type"] == "text/event-stream"
        assert reply.text.rstrip().endswith("data: [DONE]")
        assert client.post("/console/playground/chat", json=body | {"model": "none"}, headers=asked).status_code == 404
        box.until(lambda: 'title="console"' in client.get("/console/requests").text, 20)


def test_a_log_is_followed(box: Product) -> None:
    with logged_in(box) as client, client.stream("GET", "/console/logs/follow?of=") as log:
        box.get("/v1/models")
        box.post("/v1/chat/completions", {"model": "none", "messages": []})
        for line in log.iter_lines():
            if line.startswith("data: ") and "error_code=" in line:
                break


def test_a_live_page_is_sent_as_it_changes(box: Product) -> None:
    with logged_in(box) as client, client.stream("GET", "/console/feed/now") as feed:
        for line in feed.iter_lines():
            if line.startswith("data: "):
                break
        assert json.loads(line.removeprefix("data: "))["part"] == "now-attention"


def test_a_link_of_the_command_line_works_once(box: Product) -> None:
    argv = [*PROGRAM, "console", "--config", str(box.config), "--json"]
    told = json.loads(subprocess.run(argv, capture_output=True, check=True, text=True, env=box.environment).stdout)
    assert told["url"] == box.url
    with logged_in(box, told["code"]) as client:
        assert "Links work once" in log_in(client, told["code"]).text
    box.until(lambda: '"action": "console login"' in box.log.read_text(), 20)
    assert told["code"] not in box.log.read_text()


def test_what_is_served_to_machines_stays_as_it_was(box: Product) -> None:
    with httpx.Client(base_url=box.url, verify=box.verify, http2=box.http2) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/nothing").json()["error"]["code"] == "unknown_url"
        assert client.post("/").json()["error"]["code"] == "method_not_allowed"
