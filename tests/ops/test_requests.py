"""A request is ended wherever it is: its client is told, the engine stops, the slot is free."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.fakes.product import Product, product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHAT: dict[str, object] = {"model": "narrow", "messages": [{"role": "user", "content": "hi"}]}
MESSAGES = CHAT | {"max_tokens": 100}
Row = dict[str, object]


@pytest.fixture(scope="module", params=[False, True], ids=["door", "quart"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = ADMIN_TABLE + runtime("narrow", "--tokens", "2000", "--token-delay", "0.02", extra="slots = 1")
    with product(tmp_path_factory.mktemp("box"), tables, http2=request.param) as running:
        running.ready("narrow")
        yield running


@pytest.fixture
def people() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def under_way(box: Product, phase: str) -> Row:
    """The one request in this phase, once there is one."""
    found: list[Row] = []

    def there() -> bool:
        rows = box.ops("GET", "/state").json()["requests"]
        found[:] = [row for row in rows if row["phase"] == phase]
        return len(found) == 1

    box.until(there, 20)
    return found[0]


def cancel(box: Product, row: Row) -> None:
    reply = box.ops("POST", f"/cancel/{row['internal_id']}")
    assert reply.json()["ok"] is True, reply.text


def streamed(box: Product, path: str, body: dict[str, object]) -> str:
    with (
        box.client() as client,
        client.stream("POST", box.url + path, json=body | {"stream": True}, headers=box.headers) as reply,
    ):
        assert reply.status_code == 200
        return reply.read().decode()


def free(box: Product) -> None:
    """No request is under way and the only slot is free."""
    box.until(lambda: box.ops("GET", "/state").json()["in_flight"] == 0, 20)
    (line,) = box.ops("GET", "/state").json()["queues"]
    assert (line["running"], line["waiting"]) == (0, 0)


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/chat/completions", CHAT, lambda data: data["error"]["code"]),
        ("/v1/messages", MESSAGES, lambda data: data["error"]["type"]),
    ],
)
def test_a_stream_ends_with_an_error_event(
    box: Product, people: ThreadPoolExecutor, path: str, body: Row, last: Callable[[Row], str]
) -> None:
    asked: Future[str] = people.submit(streamed, box, path, body)
    cancel(box, under_way(box, "streaming"))
    text = asked.result(20)
    data = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert last(data) in {"cancelled", "overloaded_error"}
    assert "An administrator of the server has ended this request." in text
    assert "[DONE]" not in text
    free(box)


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)])
def test_an_answer_that_has_not_begun_is_an_error_of_its_dialect(
    box: Product, people: ThreadPoolExecutor, path: str, body: Row
) -> None:
    asked = people.submit(box.post, path, body)
    row = under_way(box, "first_byte")
    cancel(box, row)
    reply = asked.result(20)
    assert reply.status_code == 503
    assert reply.headers["x-request-id"] == row["id"]
    assert reply.headers["x-should-retry"] == "false"
    assert reply.json()["error"]["type"] == ("overloaded" if "chat" in path else "overloaded_error")
    free(box)


def test_who_waits_in_line_waits_no_more_and_the_others_go_on(box: Product, people: ThreadPoolExecutor) -> None:
    first = people.submit(streamed, box, "/v1/chat/completions", CHAT)
    running = under_way(box, "streaming")
    second = people.submit(box.post, "/v1/chat/completions", CHAT)
    cancel(box, under_way(box, "queued"))
    assert second.result(20).json()["error"]["code"] == "cancelled"
    assert not first.done()
    cancel(box, running)
    first.result(20)
    free(box)


def test_what_has_ended_cannot_be_ended(box: Product) -> None:
    reply = box.ops("POST", "/cancel/nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "request_not_found")


def test_it_takes_an_admin_and_is_audited(box: Product, people: ThreadPoolExecutor) -> None:
    if box.http2:
        pytest.skip("as without")
    asked = people.submit(box.post, "/v1/chat/completions", CHAT)
    row = under_way(box, "first_byte")
    path = f"/ops/v1/cancel/{row['internal_id']}"
    assert ask(box, "POST", path, "sk-test-canary-7f3a9c").status_code == 403
    assert ask(box, "POST", path, ADMIN).status_code == 200
    asked.result(20)

    def lines(event: str) -> list[dict[str, object]]:
        rows = [json.loads(line) for line in box.log.read_text().splitlines() if line.startswith("{")]
        return [
            line
            for line in rows
            if line["event"] == event and row["id"] in {line.get("target"), line.get("request_id")}
        ]

    box.until(lambda: bool(lines("audit") and lines("exchange")), 20)
    (audit,), (exchange,) = lines("audit"), lines("exchange")
    assert (audit["action"], audit["by"], audit["ok"]) == ("cancel", "root", True)
    assert (exchange["status"], exchange["outcome"], exchange["error_code"]) == (503, "error", "cancelled")
