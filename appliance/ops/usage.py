"""`/ops/v1/usage`: who used what."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import trio

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError, OperatorError
from appliance.ops.gate import Gate
from appliance.usage.report import By, Filter, Sum, sums, today
from appliance.usage.wanted import columns, comma_separated, day, objects

_KNOWN = ("by", "since", "until", "key", "model", "target", "format")
_FORMATS = ("json", "csv")


@dataclass(frozen=True, slots=True)
class UsageRoutes:
    """What the route needs.

    Attributes:
        path: the usage file.
        date: seconds since 1970.
        flush: writes what waits, so that the answer has all that has ended.
    """

    gate: Gate
    path: Path
    date: Callable[[], float]
    flush: Callable[[], Awaitable[bool]]

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("GET", "/ops/v1/usage", self._usage)]

    async def _usage(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        asked = {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
        for name in asked:
            if name not in _KNOWN:
                raise GatewayError("invalid_payload", f"`{name[:60]}` is not one of {', '.join(_KNOWN)}.", param=name)
        form = asked.get("format", "json")
        if form not in _FORMATS:
            raise GatewayError("invalid_payload", "`format` is json or csv.", param="format")
        by, found = await self.sums(asked)
        if form == "csv":
            return Reply(200, [("content-type", "text/csv; charset=utf-8")], comma_separated(by, found).encode())
        return json_reply({"usage": objects(by, found)})

    async def sums(self, asked: Mapping[str, str]) -> tuple[list[By], list[Sum]]:
        """What they are grouped by, and the sums, of members of a query.

        Raises:
            GatewayError: `invalid_payload`.
        """
        await self.flush()
        try:
            by, wanted = columns(asked.get("by", "key,model")), self._filter(asked)
            found = await trio.to_thread.run_sync(sums, self.path, wanted, by) if self.path.exists() else []
        except OperatorError as error:
            raise GatewayError("invalid_payload", f"{error}.") from error
        return by, found

    def _filter(self, asked: Mapping[str, str]) -> Filter:
        now = today(self.date())
        since, until = (day(asked[name], now) if name in asked else None for name in ("since", "until"))
        return Filter(since, until, asked.get("key"), asked.get("model"), asked.get("target"))
