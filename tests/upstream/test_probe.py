import pytest
import trio

from appliance.domain.engines import ENGINES
from appliance.domain.targets import Address, Endpoint
from appliance.upstream.probe import probe
from appliance.upstream.upstreams import Upstreams
from tests.fakes.scripted_http import Link, ScriptedHttp, always, by_path, once, reply


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_engine_is_seen_up_loading_and_down(engine: str) -> None:
    path, loading = ENGINES[engine].probe, ENGINES[engine].loading_status
    upstreams = Upstreams()
    async with ScriptedHttp(by_path({path: reply(200, b"fine")})) as server:
        answer = await probe(upstreams, server.endpoint, path, loading_status=loading)
        assert (answer.ok, answer.loading, answer.detail, answer.body) == (True, False, "", b"fine")
        endpoint = server.endpoint
    down = await probe(upstreams, endpoint, path, loading_status=loading)
    assert (down.ok, down.loading) == (False, False)
    assert "cannot connect" in down.detail
    async with ScriptedHttp(always(reply(503))) as server:
        answer = await probe(upstreams, server.endpoint, path, loading_status=loading)
        assert (answer.ok, answer.loading) == (False, loading == 503)
    await upstreams.aclose()


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (reply(500), "GET /health answered 500"),
        (reply(302, b"", "location: /login"), "a redirect"),
        (reply(401), "does not accept the credential"),
        (b"garbage\r\n\r\n", "not an HTTP reply"),
        (b"", "closed the connection"),
        (reply(200, b"x" * (2**20 + 1)), "larger than"),
    ],
)
async def test_what_is_wrong_is_said_in_words_and_nothing_is_raised(wire: bytes, words: str) -> None:
    async with ScriptedHttp(once(wire)) as server:
        upstreams = Upstreams()
        answer = await probe(upstreams, server.endpoint, "/health", loading_status=503)
        assert not answer.ok
        assert words in answer.detail
        await upstreams.aclose()


async def test_a_server_that_hangs_is_given_up() -> None:
    async with ScriptedHttp(Link.gone) as server:
        with trio.fail_after(2):
            answer = await probe(Upstreams(), server.endpoint, "/health", loading_status=503, timeout=0.05)
        assert answer.detail.startswith("no answer within 0.05 s")


async def test_a_missing_socket_is_down() -> None:
    answer = await probe(Upstreams(), Endpoint(Address("unix", "/nowhere/s")), "/health", loading_status=None)
    assert answer.detail == "cannot connect to unix:/nowhere/s: No such file or directory"
