import json
import logging

import pytest

from appliance.domain.http import Reply, Request
from appliance.domain.orders import Upgraded, UpgradeWanted
from appliance.errors import GatewayError
from appliance.ops.gate import Gate
from appliance.ops.upgrade import UpgradeRoutes
from tests.fakes.journal import journal
from tests.fakes.path import Bytes


async def order(body: bytes, answer: Upgraded) -> tuple[Reply, list[UpgradeWanted]]:
    wanted: list[UpgradeWanted] = []

    async def carry_out(one: UpgradeWanted) -> Upgraded:
        wanted.append(one)
        return answer

    (route,) = UpgradeRoutes(Gate(None, journal()), carry_out).routes()
    assert (route.method, route.template) == ("POST", "/ops/v1/upgrade")
    return await route.endpoint(Request("POST", route.template, "", [], "", Bytes(body)), ""), wanted


async def test_what_became_of_it_is_told_and_written_down(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "appliance.audit"):
        reply, wanted = await order(b'{"binary": "/new", "patience": 5}', Upgraded(ok=True, version="2", pid=7))
        refused, _ = await order(b'{"binary": "/new"}', Upgraded(ok=False, detail="broken"))
    assert wanted == [UpgradeWanted("/new", 5.0)]
    assert (reply.status, refused.status) == (200, 409)
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body) == {"ok": True, "detail": "", "version": "2", "pid": 7}
    told = [vars(record)["fields"] for record in caplog.records]
    assert [(line["action"], line["target"], line["ok"], line["detail"]) for line in told] == [
        ("upgrade", "/new", True, "pid 7"),
        ("upgrade", "/new", False, "broken"),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"binary": 1}', b'{"binary": "/n", "patience": 0}'])
async def test_a_body_that_is_no_order_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError, match="invalid_payload"):
        await order(body, Upgraded(ok=True))
