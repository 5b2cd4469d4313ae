"""What an exchange costs its key, by how it ends."""

import json
import random

import pytest
import trio
from trio.testing import MockClock

from appliance.config.schema import Limits
from appliance.domain.http import Reply
from appliance.domain.targets import Lease
from appliance.errors import ConnectFailed, GatewayError
from tests.fakes.path import Path, header
from tests.fakes.runtime import FakeRuntime
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
WHOLE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
UNSAID = b'{"choices":[]}'
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ALL = Limits(requests_per_minute=100, tokens_per_minute=1000, concurrent=3, tokens_per_day=1000)
ESTIMATE = len(json.dumps(BODY)) // 4


def path_of(*answers: ScriptedReply | Exception, limits: Limits = ALL, runtime: FakeRuntime | None = None) -> Path:
    """Time stands still, so that what is not left is what was taken."""
    return Path(ScriptedUpstreams(*answers), runtime, {"env-1": limits}, lambda: 0.0)


async def ask(path: Path, **fields: object) -> Reply:
    return await path.ask("POST", "/v1/chat/completions", json.dumps(BODY | fields).encode())


def costs(path: Path) -> tuple[int, int]:
    """Requests and tokens so far; nothing is under way."""
    account = path.ledger._keys["env-1"]
    assert account.requests is not None
    assert account.tokens is not None
    (quota,) = account.quotas
    assert (account.under_way, account.held) == (0, 0)
    assert 1000 - account.tokens.level(0) == quota.used
    return 100 - account.requests.level(0), quota.used


@pytest.mark.parametrize(
    ("answer", "status", "requests", "tokens"),
    [
        (ScriptedReply(WHOLE, headers=JSON), 200, 1, 7),
        (ScriptedReply(UNSAID, headers=JSON), 200, 1, ESTIMATE),
        (ScriptedReply(b'{"error":{}}', status=400, headers=JSON), 400, 1, 0),
        (ScriptedReply(b'{"error":{}}', status=500, headers=JSON), 500, 1, 0),
        (ConnectFailed("nobody there"), 502, 0, 0),
    ],
    ids=["counted", "not counted", "refused by the engine", "failed in the engine", "never reached"],
)
async def test_what_an_exchange_costs(
    answer: ScriptedReply | Exception, status: int, requests: int, tokens: int
) -> None:
    path = path_of(answer)
    assert (await ask(path)).status == status
    assert costs(path) == (requests, tokens)
    usage = path.records[0].usage
    assert usage.input + usage.output == tokens, "the ledger of usage has what was charged"
    assert usage.estimated == (tokens == ESTIMATE)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"model": "nobody"}, 404), ({"model": "remote", "messages": []}, 400), ({"temperature": 9}, 422)],
)
async def test_what_we_refuse_ourselves_costs_nothing(fields: dict[str, object], status: int) -> None:
    path = path_of()
    assert (await ask(path, **fields)).status == status
    assert costs(path) == (0, 0)


async def test_a_model_that_does_not_load_costs_nothing() -> None:
    path = path_of(runtime=FakeRuntime(GatewayError("model_loading", "Not yet.", retry_after=5)))
    assert (await ask(path)).status == 503
    assert costs(path) == (0, 0)


async def test_the_answer_that_a_request_allows_is_reserved_until_it_has_ended() -> None:
    path = path_of(ScriptedReply(CHUNK, DONE), ScriptedReply(WHOLE, headers=JSON))
    reply = await ask(path, stream=True, max_tokens=900)
    refused = await ask(path, max_tokens=900)
    assert refused.status == 429
    assert header(refused, "x-should-retry") is None
    assert (
        header(refused, "retry-after") == "1"
    )  # of the day: the stream may use the rest, and gives back what it does not
    assert not isinstance(reply.body, bytes)
    await reply.body.aclose()
    assert (await ask(path, max_tokens=900)).status == 200


async def test_a_quota_that_is_used_up_is_told_in_the_words_of_the_contract() -> None:
    path = path_of(limits=Limits(tokens_per_day=1))
    path.ledger._keys["env-1"].quotas[0].used = 1
    refused = await ask(path)
    assert isinstance(refused.body, bytes)
    error = json.loads(refused.body)["error"]
    assert (refused.status, error["type"], error["code"]) == (429, "rate_limit_exceeded", "insufficient_quota")
    assert error["limit"] == "tokens_per_day"
    assert header(refused, "x-should-retry") == "false"
    assert int(header(refused, "retry-after") or 0) == 86_400 - 1_800_000_000 % 86_400


class Slow(ScriptedReply):
    """A stream whose pieces take a random time, and a load and a first byte that do too."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(*[CHUNK] * rng.randrange(4), DONE)
        self._rng = rng

    async def receive(self) -> bytes:
        await trio.sleep(self._rng.random())
        return await super().receive()


class SlowRuntime(FakeRuntime):
    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    async def ensure_ready(self, runtime: str, affinity: bytes = b"", *, elsewhere: bool = False) -> Lease:
        await trio.sleep(self._rng.random())
        return await super().ensure_ready(runtime, affinity, elsewhere=elsewhere)


async def test_after_two_thousand_random_cancels_of_streams_nothing_is_held(autojump_clock: MockClock) -> None:
    """Ten thousand, with slots and a line, are in `test_queues`."""
    rng = random.Random(20)
    path = path_of(
        limits=Limits(requests_per_minute=10**6, tokens_per_minute=10**9, concurrent=90, tokens_per_day=10**9),
        runtime=SlowRuntime(rng),
    )

    class Upstreams(ScriptedUpstreams):
        async def send(self, *_: object, **__: object) -> ScriptedReply:
            await trio.sleep(rng.random())
            return Slow(rng)

    path.attempts.upstreams.send = Upstreams().send  # type: ignore[method-assign, assignment]
    body = json.dumps(BODY | {"stream": True}).encode()
    ended = {"cancelled": 0, "whole": 0, "refused": 0}

    async def one() -> None:
        with trio.move_on_after(rng.random() * 2.5) as scope:
            reply = await path.ask("POST", "/v1/chat/completions", body)
            ended["refused"] += reply.status == 429
            if isinstance(reply.body, bytes):
                return
            try:
                async for _ in reply.body:
                    pass
                ended["whole"] += 1
            finally:
                with trio.CancelScope(shield=True):
                    await reply.body.aclose()
        ended["cancelled"] += scope.cancelled_caught

    while ended["cancelled"] < 2_000:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
    account = path.ledger._keys["env-1"]
    assert (account.under_way, account.held) == (0, 0)
    assert not path.runtime.held
    assert ended["whole"]
    assert ended["refused"]
    charged = sum(record.usage.input + record.usage.output for record in path.records)
    assert account.quotas[0].used == charged
    assert account.tokens is not None
    assert account.tokens.capacity - account.tokens.level(0) == charged
