import json
from typing import Any

import pytest
import trio

from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.errors import ConnectFailed, ConnectionLost, GatewayError, ProtocolViolation, UpstreamTimeout
from tests.fakes.accounts import text_of
from tests.fakes.path import BOX, Path
from tests.fakes.runtime import SOCKET, FakeRuntime
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
CHAT = b'{"model":"both","messages":[{"role":"user","content":"hi"}]}'
OK = b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def ok() -> ScriptedReply:
    return ScriptedReply(OK, headers=JSON)


async def ask(path: Path, body: bytes = CHAT) -> tuple[int, Any]:
    reply = await path.ask("POST", "/v1/chat/completions", body)
    assert isinstance(reply.body, bytes)
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectFailed("refused"),
        ConnectionLost("reset", before_reply=True),
        ScriptedReply(b"busy", status=503),
        ScriptedReply(b"bad gateway", status=502),
        ScriptedReply(b"slow", status=504),
    ],
)
async def test_what_is_safe_to_repeat_goes_to_the_next_target_once(failure: ScriptedReply | Exception) -> None:
    path = Path(ScriptedUpstreams(failure, ok()))
    status, _ = await ask(path)
    assert status == 200
    assert [endpoint.address.scheme for endpoint, _ in path.upstreams.asked] == ["unix", "http"]
    assert "appliance_retries_total" in text_of(path.metrics)
    (record,) = path.records
    assert record.waited_s >= 1, "the attempt that failed took a second of the fake clock"
    assert record.overhead_s is not None
    assert record.overhead_s + record.waited_s + record.upload_s < record.duration_s


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_an_answer_that_would_come_again_is_passed_through_at_once(status: int) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(b'{"error":{"message":"no"}}', status=status, headers=JSON)))
    assert (await ask(path))[0] == status
    assert len(path.upstreams.asked) == 1


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (UpstreamTimeout("first_byte", 1), 504, "backend_timeout"),
        (ProtocolViolation("not HTTP"), 502, "upstream_protocol"),
        (ConnectionLost("reset", before_reply=False), 502, "backend_died"),
    ],
)
async def test_what_is_not_safe_to_repeat_is_not_repeated(failure: Exception, status: int, code: str) -> None:
    path = Path(ScriptedUpstreams(failure))
    got, body = await ask(path)
    assert (got, body["error"]["code"]) == (status, code)


async def test_the_last_targets_own_503_passes_through() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(b"one", status=503), ScriptedReply(b'{"busy":1}', status=503)))
    status, body = await ask(path)
    assert (status, body) == (503, {"busy": 1})
    told = [
        (sample.labels["reason"], sample.value)
        for family in path.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "appliance_upstream_errors_total"
    ]
    assert (sum(value for _, value in told), {reason for reason, _ in told}) == (2, {"5xx"})


async def test_a_loading_runtime_gives_way_to_another_target() -> None:
    loading = GatewayError("model_loading", "loading", retry_after=3)
    path = Path(ScriptedUpstreams(ok()), FakeRuntime(loading))
    assert (await ask(path))[0] == 200
    assert path.upstreams.asked[0][0] == BOX[1]
    assert (path.records[0].waited_s, path.records[0].finish) == (1, "stop")


async def test_a_redirect_is_refused() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(status=302, headers=[("location", "http://evil/")])))
    status, body = await ask(path)
    assert (status, body["error"]["code"]) == (502, "redirect_refused")
    assert "evil" not in str(body)


async def test_vllms_404_on_embeddings_means_unsupported_and_is_remembered() -> None:
    absent = ScriptedReply(b'{"detail":"Not Found"}', status=404, headers=JSON)
    path = Path(ScriptedUpstreams(absent))
    path.fleet.set_backend(BackendStatus("box", "vllm", BOX[1], healthy=True))
    ask_embedding = b'{"model":"remote","input":"x"}'
    for _ in range(2):  # the second time without asking
        reply = await path.ask("POST", "/v1/embeddings", ask_embedding)
        assert reply.status == 501
    assert len(path.upstreams.asked) == 1


async def test_a_404_about_the_model_passes_through() -> None:
    body = b'{"error":{"message":"The model `x` does not exist.","code":404}}'
    path = Path(ScriptedUpstreams(ScriptedReply(body, status=404, headers=JSON)))
    reply = await path.ask("POST", "/v1/embeddings", b'{"model":"remote","input":"x"}')
    assert (reply.status, reply.body) == (404, body)


async def test_the_engine_sees_its_own_name_of_the_model_and_our_request_id() -> None:
    path = Path(ScriptedUpstreams(ok()))
    await ask(path, CHAT.replace(b"both", b"remote"))
    _, request = path.upstreams.asked[0]
    assert json.loads(request.body)["model"] == "x"
    assert request.request_id == "0" * 32
    assert not any(name in {"authorization", "x-api-key"} for name, _ in request.headers)


ALONE = CHAT.replace(b"both", b"m")


def local(*answers: ScriptedReply | Exception) -> Path:
    """A model whose only target is a process of ours, with one slot."""
    path = Path(ScriptedUpstreams(*answers), clock=trio.current_time)
    path.fleet.set_replica(ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, 0.0, endpoint=SOCKET, slots=1))
    return path


def told(path: Path, name: str) -> dict[str, float]:
    """The samples of a metric, by reason."""
    return {
        sample.labels["reason"]: sample.value
        for family in path.metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def nothing_held(path: Path) -> bool:
    line = path.queues._lines["m"]
    return (line.running, line.waiting, path.runtime.held) == (0, 0, set())


async def test_who_finds_a_process_of_ours_dead_is_sent_to_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    path = local(ConnectFailed("refused"), ok())
    line = path.queues._lines["m"]
    async with trio.open_nursery() as nursery:

        async def see() -> None:
            await trio.sleep(1)
            assert line.running == 1, "it keeps its place"
            assert len(path.runtime.held) == 1
            path.runtime.ended.set()

        nursery.start_soon(see)
        assert (await ask(path, ALONE))[0] == 200
    assert [endpoint for endpoint, _ in path.upstreams.asked] == [SOCKET, SOCKET]
    assert path.runtime.asked == ["m", "m"]
    assert nothing_held(path)
    assert path.panel.empty
    assert (told(path, "appliance_upstream_errors_total"), told(path, "appliance_retries_total")) == (
        {"connect": 1},
        {"connect": 1},
    )
    assert path.records[0].waited_s == 1


async def test_it_is_sent_only_once_more(autojump_clock: trio.testing.MockClock) -> None:
    path = local(ConnectFailed("refused"), ConnectFailed("refused again"), ok())
    path.runtime.ended.set()
    status, body = await ask(path, ALONE)
    assert (status, body["error"]["code"], len(path.upstreams.asked)) == (502, "backend_unreachable", 2)
    assert nothing_held(path)


async def test_a_process_that_lives_and_takes_no_connection_is_not_waited_for_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    path = local(ConnectFailed("refused"))
    began = trio.current_time()
    status, body = await ask(path, ALONE)
    assert (status, body["error"]["code"]) == (502, "backend_unreachable")
    assert trio.current_time() - began == 2
    assert nothing_held(path)


async def test_what_was_sent_is_not_sent_to_the_next_process(autojump_clock: trio.testing.MockClock) -> None:
    path = local(ConnectionLost("reset", before_reply=True))
    path.runtime.ended.set()
    assert (await ask(path, ALONE))[0] == 502


async def test_another_target_is_better_than_the_next_process_unless_its_circuit_is_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ill = [ScriptedReply(b"{}", status=500) for _ in range(5)]
    path = local(ConnectFailed("refused"), ok(), *ill, ConnectFailed("refused"), ok())
    path.runtime.ended.set()
    assert (await ask(path))[0] == 200
    for _ in range(5):
        await ask(path, CHAT.replace(b"both", b"remote"))
    assert (await ask(path))[0] == 200
    unix = [endpoint.address.scheme == "unix" for endpoint, _ in path.upstreams.asked]
    assert unix == [True, False, *5 * [False], True, True]


async def test_who_leaves_while_the_next_process_is_waited_for_leaves_nothing_and_pays_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    path = local(ConnectFailed("refused"))
    with trio.move_on_after(1):
        await ask(path, ALONE)
    assert nothing_held(path)
    (record,) = path.records
    assert (record.outcome, record.usage.input) == ("client_gone", 0)
