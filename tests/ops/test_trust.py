import pytest

from appliance.api.routes import Router
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.ops.trust import Trust
from tests.fakes.path import Bytes


async def get(authority: bytes) -> Reply:
    route, _ = Router(Trust(lambda: authority).routes()).find("GET", "/ca.pem")
    return await route.endpoint(Request("GET", "/ca.pem", "", [], "192.0.2.1", Bytes(b"")), "")


async def test_anybody_may_have_the_authoritys_certificate() -> None:
    reply = await get(b"-----BEGIN CERTIFICATE-----")
    assert (reply.status, reply.body) == (200, b"-----BEGIN CERTIFICATE-----")
    assert ("content-type", "application/x-x509-ca-cert") in reply.headers


async def test_where_there_is_none_it_is_not_found() -> None:
    with pytest.raises(GatewayError, match="no authority of its own"):
        await get(b"")
