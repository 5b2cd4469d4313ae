import functools
from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from appliance.config.schema import Backend
from appliance.domain.calls import Operation
from appliance.domain.engines import BACKEND_ENGINES, ENGINES
from appliance.domain.status import BackendStatus, ProbeAnswer
from appliance.domain.targets import Address, Endpoint
from appliance.fleet.table import FleetTable
from appliance.health.prober import Ask, Prober, parse_models
from appliance.upstream.probe import probe
from appliance.upstream.upstreams import Upstreams
from tests.fakes.scripted_http import ScriptedHttp, always, by_path, reply

LIST = b'{"object":"list","data":[{"id":"m1","object":"model","max_model_len":4096},{"id":"m2"}]}'
NOWHERE = Endpoint(Address("http", "127.0.0.1", 1))


class Answers:
    """Answers probes from a table that the test changes; a value may be an exception."""

    def __init__(self, **answers: ProbeAnswer | Exception) -> None:
        self.by_path = {"/" + path.replace("__", "/"): answer for path, answer in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, endpoint: Endpoint, path: str, /, *, loading_status: int | None) -> ProbeAnswer:
        self.asked.append(path)
        answer = self.by_path[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


def prober_of(engine: str, ask: Ask, endpoint: Endpoint = NOWHERE) -> tuple[Prober, Callable[[], BackendStatus]]:
    fleet = FleetTable()
    backend = Backend(name="box", engine=engine, url="http://unused")  # type: ignore[arg-type]
    prober = Prober([(backend, endpoint)], fleet, ask, 5.0)
    return prober, lambda: fleet.snapshot().backends["box"]


def ids(row: BackendStatus) -> list[str]:
    return [card.id for card in row.models]


@pytest.mark.parametrize("engine", BACKEND_ENGINES)
async def test_every_engine_is_seen_up_loading_and_down_and_keeps_its_list(engine: str) -> None:
    upstreams = Upstreams()
    up = by_path({ENGINES[engine].probe: reply(200, b"{}"), "/v1/models": reply(200, LIST)})
    async with ScriptedHttp(up, always(reply(503))) as server:
        prober, row = prober_of(engine, functools.partial(probe, upstreams), server.endpoint)
        await prober._probe("box")
        assert (row().healthy, row().reason, ids(row())) == (True, "", ["m1", "m2"])
        await upstreams.aclose()
        upstreams = Upstreams()
        prober._ask = functools.partial(probe, upstreams)
        await prober._probe("box")
        words = "it is loading its model" if ENGINES[engine].loading_status == 503 else "answered 503"
        assert row().healthy is False
        assert words in row().reason
        await upstreams.aclose()
        prober._ask = functools.partial(probe, Upstreams())
    await prober._probe("box")
    assert "cannot connect" in row().reason
    assert ids(row()) == ["m1", "m2"]


async def test_a_backend_has_a_row_before_its_first_probe_and_nothing_is_claimed() -> None:
    _, row = prober_of("vllm", Answers())
    assert (row().healthy, row().models) == (None, ())


async def test_probes_repeat_and_since_tells_the_last_change_only(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ask = Answers(health=ProbeAnswer(ok=True), v1__models=ProbeAnswer(ok=True, body=LIST))
    prober, row = prober_of("vllm", ask)
    start = trio.current_time()
    nursery.start_soon(prober.run)
    await trio.sleep(12)
    assert (row().healthy, row().since - start, ask.asked.count("/health")) == (True, 0, 3)
    ask.by_path["/health"] = ProbeAnswer(ok=False, detail="broken")
    await trio.sleep(10)
    assert (row().healthy, row().reason, row().since - start) == (False, "broken", 15)
    nursery.cancel_scope.cancel()


async def test_a_failing_list_keeps_the_old_one_and_the_backend_healthy() -> None:
    ask = Answers(health=ProbeAnswer(ok=True), v1__models=ProbeAnswer(ok=True, body=LIST))
    prober, row = prober_of("tgi", ask)
    await prober._probe("box")
    for answer in (ProbeAnswer(ok=False, detail="no"), ProbeAnswer(ok=True, body=b"<html>")):
        ask.by_path["/v1/models"] = answer
        await prober._probe("box")
        assert (row().healthy, ids(row())) == (True, ["m1", "m2"])


async def test_an_openai_backend_is_asked_once_and_must_answer_with_a_list() -> None:
    ask = Answers(v1__models=ProbeAnswer(ok=True, body=b"<html>"))
    prober, row = prober_of("openai", ask)
    await prober._probe("box")
    assert (ask.asked, row().healthy) == (["/v1/models"], False)
    assert row().reason == "GET /v1/models did not answer with a model list"


async def test_a_probe_that_raises_does_not_end_the_task(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    ask = Answers(health=RuntimeError("bug"), v1__models=ProbeAnswer(ok=True, body=LIST))
    prober, row = prober_of("vllm", ask)
    nursery.start_soon(prober.run)
    await trio.sleep(1)
    assert (row().healthy, row().reason) == (False, "the probe itself failed; the log has more")
    ask.by_path["/health"] = ProbeAnswer(ok=True)
    await trio.sleep(5)
    assert row().healthy is True
    nursery.cancel_scope.cancel()


async def test_what_was_learnt_about_missing_operations_is_kept() -> None:
    ask = Answers(health=ProbeAnswer(ok=True), v1__models=ProbeAnswer(ok=True, body=LIST))
    prober, row = prober_of("vllm", ask)
    await prober._probe("box")
    prober._fleet.learn_cannot("box", Operation.EMBEDDING)
    await prober._probe("box")
    assert row().cannot == {Operation.EMBEDDING}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":[{}]}', b'{"data":[{"id":1}]}', b'{"data":{}}', b"\xff"])
def test_what_is_not_a_model_list_is_none(body: bytes) -> None:
    assert parse_models(body) is None


def test_a_list_keeps_what_the_engine_said_and_null_is_an_empty_one() -> None:
    cards = parse_models(LIST)
    assert cards is not None
    assert cards[0].fields == {"object": "model", "max_model_len": 4096}
    assert parse_models(b'{"data":null}') == ()


@pytest.mark.parametrize("removed", [True, False])
async def test_an_answer_that_arrives_as_a_reload_takes_its_backend_away_is_nobodys(removed: bool) -> None:
    """Its task is on its way already then, and no cancellation reaches it before it writes."""
    arrived = trio.Event()
    elsewhere = Endpoint(Address("http", "elsewhere", 1))

    async def ask(endpoint: Endpoint, path: str, /, *, loading_status: int | None) -> ProbeAnswer:
        if endpoint == elsewhere:
            await trio.sleep_forever()
        await arrived.wait()
        return ProbeAnswer(ok=True, body=LIST)

    fleet = FleetTable()
    backend = Backend(name="box", engine="openai", url="http://unused")
    prober = Prober([(backend, NOWHERE)], fleet, ask, 5.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prober.run)
        await trio.testing.wait_all_tasks_blocked()
        arrived.set()
        prober.change([] if removed else [(backend, elsewhere)])
        await trio.testing.wait_all_tasks_blocked()
        assert {row.healthy for row in fleet.snapshot().backends.values()} == (set() if removed else {None})
        nursery.cancel_scope.cancel()
