"""How exchanges end, through the whole path: slots, breakers, suspects."""

import json
from typing import Any

import pytest
import trio

from appliance.breakers.suspects import Opinion
from appliance.domain.calls import Operation
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, UpstreamTimeout
from appliance.gateway.trials import digest_of, remembered
from tests.fakes.path import Path, header
from tests.fakes.runtime import SOCKET
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

S = ReplicaState
JSON = [("content-type", "application/json")]
OK = b'{"choices":[{"index":0,"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def row(state: ReplicaState = S.READY, slots: int = 1) -> ReplicaStatus:
    return ReplicaStatus("m", "m", "llama.cpp", state, since=0.0, endpoint=SOCKET, slots=slots)


def ok() -> ScriptedReply:
    return ScriptedReply(OK, headers=JSON)


def bad(status: int) -> ScriptedReply:
    return ScriptedReply(b'{"error":{"message":"no"}}', status=status, headers=JSON)


def path_to(*answers: ScriptedReply | Exception) -> Path:
    path = Path(ScriptedUpstreams(*answers), clock=trio.current_time)
    path.fleet.set_replica(row())
    return path


async def ask(path: Path, model: str, *, stream: bool = False) -> tuple[int, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    reply = await path.ask("POST", "/v1/chat/completions", json.dumps(body).encode())
    if isinstance(reply.body, bytes):
        return reply.status, json.loads(reply.body)
    pieces = b"".join([piece async for piece in reply.body])
    await reply.body.aclose()
    return reply.status, pieces


@pytest.mark.parametrize(
    "failure",
    [
        ConnectFailed("refused"),
        ConnectionLost("reset", before_reply=False),
        UpstreamTimeout("first_byte", 1),
        ScriptedReply(TOKEN),
        bad(500),
        bad(502),
    ],
)
async def test_five_failures_in_a_row_open_the_circuit_of_a_models_only_target(
    failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    def again() -> Any:
        if isinstance(failure, ScriptedReply):
            return ScriptedReply(*failure._pieces, status=failure.status, headers=failure.headers)
        return failure

    path = path_to(*(again() for _ in range(5)), ok())
    for _ in range(5):
        status, _ = await ask(path, "remote", stream=True)
        assert status in (200, 500, 502, 504)
    status, body = await ask(path, "remote")
    assert (status, body["error"]["code"]) == (503, "circuit_open")
    assert body["error"]["type"] == "backend_unreachable"
    assert len(path.upstreams.asked) == 5  # it is left alone
    await trio.sleep(5)
    assert (await ask(path, "remote"))[0] == 200  # the probe
    assert path.panel.empty


@pytest.mark.parametrize("status", [400, 404, 422, 429, 503])
async def test_what_says_nothing_about_a_target_leaves_its_circuit_closed(
    status: int, autojump_clock: trio.testing.MockClock
) -> None:
    path = path_to(*(bad(status) for _ in range(20)))
    for _ in range(20):
        assert (await ask(path, "remote"))[0] == status
    assert path.panel.empty


async def test_a_clients_leaving_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(*(ScriptedReply(TOKEN, TOKEN) for _ in range(10)))
    body = b'{"model":"remote","messages":[{"role":"user","content":"hi"}],"stream":true}'
    for _ in range(10):
        reply = await path.ask("POST", "/v1/chat/completions", body)
        assert not isinstance(reply.body, bytes)
        await reply.body.__anext__()
        await reply.body.aclose()
    assert path.panel.empty


async def test_with_another_target_an_open_circuit_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(*(answer for _ in range(5) for answer in (ConnectFailed("no"), ok())), ok())
    for _ in range(5):
        assert (await ask(path, "both"))[0] == 200
    await trio.sleep(2)  # its supervisor has not seen it end
    assert (await ask(path, "both"))[0] == 200
    assert path.panel.tripped == {"m"}
    assert path.upstreams.asked[-1][0].address.host == "box"  # not tried in vain


@pytest.mark.parametrize("model", ["remote", "m"])
@pytest.mark.parametrize("stream", [False, True])
async def test_of_many_who_come_at_half_open_one_is_the_probe(
    model: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    probes = [ScriptedReply(TOKEN, b"data: [DONE]\n\n") if stream else ok() for _ in range(50)]
    path = path_to(*(ConnectFailed("no") for _ in range(5)), *probes)
    path.fleet.set_replica(row(slots=4))
    for _ in range(5):
        await ask(path, model)
    await trio.sleep(5)
    send, asked = path.upstreams.send, len(path.upstreams.asked)

    async def slowly(*args: Any, **options: Any) -> ScriptedReply:
        await trio.sleep(1)
        return await send(*args, **options)

    path.upstreams.send = slowly  # type: ignore[method-assign]  # so that all of them come before it has answered
    ends: list[Any] = []

    async def client() -> None:
        ends.append(await ask(path, model, stream=stream))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(client)
    assert len(path.upstreams.asked) - asked == 1
    assert sorted(status for status, _ in ends) == [200] + 49 * [503]
    assert path.panel.empty


async def test_an_open_circuit_says_when_to_try_again(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(*(ConnectFailed("no") for _ in range(5)))
    for _ in range(5):
        await ask(path, "remote")
    await trio.sleep(1.5)
    body = b'{"model":"remote","messages":[{"role":"user","content":"hi"}]}'
    reply = await path.ask("POST", "/v1/chat/completions", body)
    assert header(reply, "retry-after") == "4"
    assert header(reply, "x-error-source") == "gateway"


@pytest.mark.parametrize("failure", [ConnectFailed("no"), ConnectionLost("x", before_reply=False), bad(400), ok()])
async def test_every_end_frees_the_slot(failure: Any, autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(failure, ok())
    await ask(path, "m")
    line = path.queues._lines["m"]
    assert (line.running, line.waiting) == (0, 0)
    assert path.runtime.held == set()


async def test_tokens_are_charged_as_the_engine_counted_them(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(ok())
    line = path.queues._lines["m"]
    holder = line.take("other", 1, 1)
    assert holder is not None
    line.resize(2, 0)
    await ask(path, "m")
    assert line._flows["env-1"].tag == 3


async def test_a_crash_makes_suspects_of_what_broke_with_it(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(ScriptedReply(TOKEN, ConnectionLost("gone", before_reply=False)))
    await trio.sleep(1)
    await ask(path, "m", stream=True)
    path.fleet.set_replica(row(S.BACKOFF))
    content = digest_of(remembered(path.upstreams.asked[0][1].body))
    assert path.trials.suspects.opinion("m", content, trio.current_time()) is Opinion.SUSPECT


async def test_what_never_reached_a_crashed_engine_is_no_suspect(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(ConnectFailed("refused"))
    await trio.sleep(1)
    await ask(path, "m")
    path.fleet.set_replica(row(S.BACKOFF))
    assert not path.trials.suspects.any


async def test_an_operator_sees_lines_circuits_and_suspects(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(*(ConnectFailed("no") for _ in range(5)))
    for _ in range(5):
        await ask(path, "remote")
    assert path.queues.take("m", path.accounts.open(Operation.CHAT, "", None), 1)
    told = path.outcomes.report(trio.current_time())
    assert told["queues"] == [{"runtime": "m", "slots": 1, "running": 1, "waiting": 0}]
    assert told["suspects"] == {"suspected": 0, "refused": 0}
    assert [row["target"] for row in path.panel.report(trio.current_time())] == ["box/x"]


async def test_a_broken_connection_alone_makes_no_suspect(autojump_clock: trio.testing.MockClock) -> None:
    path = path_to(ConnectionLost("gone", before_reply=False))
    await ask(path, "m")
    assert not path.trials.suspects.any


async def test_what_a_callers_own_key_meets_is_no_verdict_on_its_provider(
    autojump_clock: trio.testing.MockClock,
) -> None:
    path = path_to(*(bad(500) for _ in range(10)))
    body = b'{"model":"x","messages":[{"role":"user","content":"hi"}]}'
    headers = [("x-byok-provider", "openai"), ("x-byok-api-key", "sk-own")]
    for _ in range(10):
        assert (await path.ask("POST", "/v1/chat/completions", body, headers=headers)).status == 500
    assert path.panel.empty


class Slow:
    """Model servers by scheme of their address, each of which takes a second for what it says."""

    def __init__(self, **says: Any) -> None:
        self.says = says
        self.asked: list[tuple[str, float]] = []

    async def send(self, endpoint: Endpoint, *_: Any, **__: Any) -> ScriptedReply:
        where = endpoint.address.scheme
        self.asked.append((where, trio.current_time()))
        await trio.sleep(1)
        said = self.says[where]
        if isinstance(said, Exception):
            raise said
        return ok() if said == 200 else bad(said)


def crowded(engine: Slow, **options: Any) -> Path:
    path = Path(engine, clock=trio.current_time, **options)  # type: ignore[arg-type]
    path.fleet.set_replica(row())
    return path


async def crowd(path: Path, model: str, size: int) -> list[tuple[int, Any, float]]:
    """So many clients at once: status, error code and the second of each end."""
    ends: list[tuple[int, Any, float]] = []
    began = trio.current_time()

    async def client() -> None:
        status, body = await ask(path, model)
        ends.append((status, body.get("error", {}).get("code"), round(trio.current_time() - began)))

    async with trio.open_nursery() as nursery:
        for _ in range(size):
            nursery.start_soon(client)
    line = path.queues._lines["m"]
    assert (line.running, line.waiting, path.queues._events, path.runtime.held) == (0, 0, {}, set())
    return ends


@pytest.mark.parametrize("failure", [502, UpstreamTimeout("first_byte", 1)])
async def test_who_stands_in_line_when_the_circuit_opens_is_told_at_once(
    failure: Any, autojump_clock: trio.testing.MockClock
) -> None:
    engine = Slow(unix=failure)
    path = crowded(engine)
    ends = await crowd(path, "m", 20)
    assert len(engine.asked) == 5, "the broken target is not asked by everybody in line, one by one"
    assert [end for end in ends if end[1] == "circuit_open"] == 15 * [(503, "circuit_open", 5)]


async def test_who_stands_in_line_when_the_circuit_opens_goes_to_the_models_other_target(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = Slow(unix=UpstreamTimeout("first_byte", 1), http=200)
    path = crowded(engine)
    ends = await crowd(path, "both", 20)
    assert sorted(end[0] for end in ends) == 15 * [200] + 5 * [504]
    assert [where for where, _ in engine.asked] == 5 * ["unix"] + 15 * ["http"]
    assert max(end[2] for end in ends) == 6, "at once"


async def test_where_all_targets_are_tripped_the_line_stays(autojump_clock: trio.testing.MockClock) -> None:
    engine = Slow(unix=UpstreamTimeout("first_byte", 1), http=500)
    path = crowded(engine)
    for _ in range(5):
        await ask(path, "remote")
    assert path.panel.tripped == {"box/x"}
    ends = await crowd(path, "both", 8)
    probes = [500]  # that one was due
    assert sorted(end[0] for end in ends) == probes + 7 * [504], "statistics alone never take away the last of several"


async def test_of_those_who_waited_in_line_as_probes_one_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Both slots are held by answers that take long, so those let through meanwhile, one in each pause, wait."""
    engine = Slow(unix=502)
    path = crowded(engine)
    path.fleet.set_replica(row(slots=2))
    for _ in range(5):
        await ask(path, "m")
    held = [path.accounts.open(Operation.CHAT, "", None) for _ in range(2)]
    assert all(path.queues.take("m", one, 1) for one in held)
    ends: list[tuple[int, Any]] = []

    async def client() -> None:
        status, body = await ask(path, "m")
        ends.append((status, body.get("error", {}).get("code")))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            await trio.sleep(6)
            nursery.start_soon(client)
        await trio.sleep(1)
        asked = len(engine.asked)
        assert path.queues.report()[0]["waiting"] == 3
        for one in held:
            path.queues.free(one, 1, trio.current_time())
    assert len(engine.asked) - asked == 1
    assert sorted(ends) == [(502, None), (503, "circuit_open"), (503, "circuit_open")]


@pytest.mark.parametrize("seen_first", [True, False])
async def test_a_crash_with_many_inside_opens_no_circuit_whoever_sees_it_first(
    seen_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Nor is anybody in line sent away for it: what the supervisor says wins, also a moment later."""
    path = crowded(Slow())
    path.fleet.set_replica(row(slots=8))
    serving, moment = [True], trio.Event()

    async def send(*_: Any, **__: Any) -> ScriptedReply:
        if not serving[0]:
            return ok()
        await moment.wait()
        raise ConnectionLost("reset", before_reply=True)

    path.upstreams.send = send  # type: ignore[method-assign]
    ends: list[int] = []

    async def client(number: int) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": f"hi {number}"}]}
        ends.append((await path.ask("POST", "/v1/chat/completions", json.dumps(body).encode())).status)

    def crash() -> None:
        path.fleet.set_replica(row(S.BACKOFF))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(client, number)
        await trio.sleep(1)
        if seen_first:
            crash()
        moment.set()
        serving[0] = False
        await trio.testing.wait_all_tasks_blocked()
        if not seen_first:
            crash()
        assert path.panel.tripped == set()
        path.fleet.set_replica(row(slots=8))
    assert sorted(ends) == 12 * [200] + 8 * [502]
    await trio.sleep(5)
    assert (await ask(path, "m"))[0] == 200
    assert path.panel.empty


async def test_who_is_answered_500_by_an_engine_that_then_dies_is_a_suspect(
    autojump_clock: trio.testing.MockClock,
) -> None:
    path = path_to(bad(500))
    await ask(path, "m")
    assert not path.trials.suspects.any
    await trio.sleep(1)
    path.fleet.set_replica(row(S.BACKOFF))
    content = digest_of(remembered(path.upstreams.asked[0][1].body))
    assert path.trials.suspects.opinion("m", content, trio.current_time()) is Opinion.SUSPECT
