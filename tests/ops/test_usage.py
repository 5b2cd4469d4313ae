import json
from pathlib import Path as FilePath

import pytest

from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.ops.gate import Gate
from appliance.ops.usage import UsageRoutes
from appliance.usage.store import Row, Store
from tests.fakes.journal import journal
from tests.fakes.path import Bytes

AT = 1_800_000_000.0  # 2027-01-15
ROW = Row(AT, "r", "alice", "qwen", "chat", "t", 200, "ok", "", False, 10, 5, 2, False, None, 0.1, 10)


class Box:
    def __init__(self, directory: FilePath) -> None:
        self.path = directory / "usage.db"
        self.flushed = 0
        (self.route,) = UsageRoutes(Gate(None, journal()), self.path, lambda: AT, self._flush).routes()

    async def _flush(self) -> bool:
        self.flushed += 1
        return True

    async def ask(self, query: str = "") -> Reply:
        return await self.route.endpoint(Request("GET", "/ops/v1/usage", query, [], "", Bytes(b"")), "")

    async def rows(self, query: str = "") -> list[dict[str, object]]:
        reply = await self.ask(query)
        assert isinstance(reply.body, bytes)
        found: list[dict[str, object]] = json.loads(reply.body)["usage"]
        return found


@pytest.fixture
def box(tmp_path: FilePath) -> Box:
    store = Store.open(tmp_path / "usage.db")
    store.add([ROW, ROW._replace(key="bob", target="u"), ROW._replace(at=AT - 5 * 86_400)])
    store.close()
    return Box(tmp_path)


async def test_sums_with_what_has_just_ended(box: Box) -> None:
    rows = await box.rows()
    assert [(row["key"], row["model"], row["requests"]) for row in rows] == [("alice", "qwen", 2), ("bob", "qwen", 1)]
    assert box.flushed == 1


@pytest.mark.parametrize(
    ("query", "counts"),
    [
        ("by=&since=today", [2]),
        ("by=day", [1, 2]),
        ("by=&until=2027-01-14", [1]),
        ("by=&key=bob", [1]),
        ("by=&target=t", [2]),
        ("by=&model=nothing", []),
    ],
)
async def test_filters(box: Box, query: str, counts: list[int]) -> None:
    assert [row["requests"] for row in await box.rows(query)] == counts


async def test_csv(box: Box) -> None:
    reply = await box.ask("by=key&format=csv")
    assert isinstance(reply.body, bytes)
    assert reply.body.decode().splitlines()[1] == "alice,2,0,20,10,4,0"
    assert ("content-type", "text/csv; charset=utf-8") in reply.headers


async def test_nothing_recorded_yet_is_nothing_used(tmp_path: FilePath) -> None:
    assert await Box(tmp_path).rows() == []


@pytest.mark.parametrize("query", ["by=colour", "since=soon", "colour=red", "format=xml"])
async def test_mistakes_are_told(box: Box, query: str) -> None:
    with pytest.raises(GatewayError, match="invalid_payload"):
        await box.ask(query)
