import gzip
import json

import pytest

from appliance.domain.http import Request
from appliance.domain.status import ReplicaState, ReplicaStatus
from tests.fakes.path import Bytes, Path


async def test_healthz_needs_no_key() -> None:
    reply = await Path().ask("GET", "/healthz", key=None)
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}')


async def test_readyz_is_503_until_every_model_is_ready_and_tells_why() -> None:
    path = Path()
    path.fleet.set_replica(ReplicaStatus("m", "m-0", "llama.cpp", ReplicaState.BACKOFF, 0.0, "exit code 1"))
    reply = await path.ask("GET", "/readyz", key=None)
    assert isinstance(reply.body, bytes)
    assert reply.status == 503
    assert json.loads(reply.body)["models"]["m"]["reason"] == "exit code 1"


async def test_readyz_tells_that_a_request_would_bring_what_is_not_there() -> None:
    path = Path()
    path.fleet.set_replica(ReplicaStatus("m", "m-0", "llama.cpp", ReplicaState.STOPPED, 0.0))
    reply = await path.ask("GET", "/readyz", key=None)
    assert isinstance(reply.body, bytes)
    model = json.loads(reply.body)["models"]["m"]
    assert (model["ready"], model["available"]) == (False, True)


async def test_a_stranger_learns_whether_a_model_is_ready_and_not_why() -> None:
    path = Path()
    path.fleet.set_replica(
        ReplicaStatus("m", "m-0", "llama.cpp", ReplicaState.BACKOFF, 0.0, "/secret/path: no such file")
    )
    for headers, seen in (([], False), ([("x-api-key", "sk-a")], True)):
        reply = await path.dispatch(Request("GET", "/readyz", "", headers, "192.0.2.7", Bytes(b"")))
        assert isinstance(reply.body, bytes)
        assert (b"/secret/path" in reply.body) is seen
        assert json.loads(reply.body)["models"]["m"]["state"] == "backoff"


async def test_metrics_are_for_this_machine_or_a_key_with_the_scope() -> None:
    path = Path()
    assert (await path.ask("GET", "/metrics", key=None)).status == 200
    remote = Request("GET", "/metrics", "", [], "192.0.2.7", Bytes(b""))
    assert (await path.dispatch(remote)).status == 401
    scoped = Request("GET", "/metrics", "", [("x-api-key", "sk-a")], "192.0.2.7", Bytes(b""))
    assert (await path.dispatch(scoped)).status == 403


async def test_the_scraper_chooses_the_format() -> None:
    for accept, content_type, end in (
        ("text/plain", "text/plain", b"\n"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", b"# EOF\n"),
    ):
        reply = await Path().ask("GET", "/metrics", key=None, headers=[("accept", accept)])
        assert isinstance(reply.body, bytes)
        assert dict(reply.headers)["content-type"].startswith(content_type)
        assert b"appliance_client_connections 0.0\n" in reply.body
        assert reply.body.endswith(end)


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),  # Prometheus
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("deflate,gzip ; q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("x-gzip-not, br", False),
    ],
)
async def test_the_metrics_are_compressed_for_whoever_takes_that(accepts: str, packed: bool) -> None:
    headers = [("accept-encoding", accepts)] if accepts else []
    reply = await Path().ask("GET", "/metrics", key=None, headers=headers)
    assert isinstance(reply.body, bytes)
    told = dict(reply.headers)
    assert told["vary"] == "accept, accept-encoding"
    assert told.get("content-encoding") == ("gzip" if packed else None)
    page = gzip.decompress(reply.body) if packed else reply.body
    assert b"\nappliance_client_connections 0.0\n" in page
