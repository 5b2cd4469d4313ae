"""Asks every backend, again and again, whether it can serve and which models it has."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec
import trio

from appliance.config.schema import Backend
from appliance.domain.engines import ENGINES
from appliance.domain.status import BackendStatus, ModelCard, ProbeAnswer
from appliance.domain.targets import Endpoint
from appliance.fleet.table import FleetTable

_MODELS = "/v1/models"
_log = logging.getLogger(__name__)


class Ask(Protocol):
    """Sends one probe; `functools.partial(probe, upstreams)` is one."""

    async def __call__(self, endpoint: Endpoint, path: str, /, *, loading_status: int | None) -> ProbeAnswer:
        """What the server answered; upstream errors are part of the answer."""
        ...


class _Entry(msgspec.Struct):
    """What every entry of a model list must have."""

    id: str


class _Listing(msgspec.Struct):
    """A model list; Ollama writes null for an empty one."""

    data: list[dict[str, Any]] | None


class Prober:
    """One task for each backend, so that a slow one does not delay the others.

    Args:
        backends: the config's backends, each with its endpoint.
        fleet: where the results go. Every backend has a row as soon as this object exists.
        ask: sends one probe.
        interval: seconds between two probes of a backend.
    """

    def __init__(
        self, backends: Sequence[tuple[Backend, Endpoint]], fleet: FleetTable, ask: Ask, interval: float
    ) -> None:
        self._rows: dict[str, BackendStatus] = {}
        self._fleet = fleet
        self._ask = ask
        self._interval = interval
        self._nursery: trio.Nursery | None = None  # while it runs
        self._scopes: dict[str, trio.CancelScope] = {}
        self.change(backends)

    def change(self, backends: Sequence[tuple[Backend, Endpoint]]) -> None:
        """These are the backends from now on; what is known of one that did not change stays."""
        rows = [BackendStatus(backend.name, backend.engine, endpoint) for backend, endpoint in backends]
        for name in [name for name in self._rows if name not in {row.name for row in rows}]:
            self._forget(name)
        for row in rows:
            known = self._rows.get(row.name)
            if known is not None and (known.engine, known.endpoint) == (row.engine, row.endpoint):
                continue
            if known is not None:
                self._forget(row.name)
            self._rows[row.name] = row
            self._fleet.set_backend(row)
            self._begin(row.name)

    def _forget(self, name: str) -> None:
        del self._rows[name]
        if (scope := self._scopes.pop(name, None)) is not None:
            scope.cancel()
        self._fleet.drop_backend(name)

    def _begin(self, name: str) -> None:
        if self._nursery is not None:
            self._scopes[name] = trio.CancelScope()
            self._nursery.start_soon(self._watch, name, self._scopes[name], name=f"probe {name}")

    async def run(self) -> None:
        """Probe until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for name in self._rows:
                self._begin(name)
            await trio.sleep_forever()

    async def _watch(self, name: str, scope: trio.CancelScope) -> None:
        with scope:
            await self._probe_on(name)

    async def _probe_on(self, name: str) -> None:
        while True:
            row = self._rows[name]
            try:
                await self._probe(name)
            except Exception:  # noqa: BLE001 - a bug in one probe must not blind the box to every backend
                _log.exception("probe of backend %s failed", name)
                self._write(row, healthy=False, reason="the probe itself failed; the log has more")
            await trio.sleep(self._interval)

    async def _probe(self, name: str) -> None:
        row = self._rows[name]
        engine = ENGINES[row.engine]
        answer = await self._ask(row.endpoint, engine.probe, loading_status=engine.loading_status)
        if not answer.ok:
            self._write(row, healthy=False, reason=answer.detail or "it does not answer its probe")
            return
        if engine.probe_lists_models:
            models = parse_models(answer.body)
            reason = "" if models is not None else f"GET {engine.probe} did not answer with a model list"
            self._write(row, healthy=models is not None, reason=reason, models=models)
            return
        listed = await self._ask(row.endpoint, _MODELS, loading_status=None)
        self._write(row, healthy=True, reason="", models=parse_models(listed.body) if listed.ok else None)

    def _write(
        self, asked: BackendStatus, *, healthy: bool, reason: str, models: tuple[ModelCard, ...] | None = None
    ) -> None:
        """Store what was seen; without a list the one known last stays.

        An answer can arrive in the very moment in which a reload takes its backend away, or makes it another one.
        """
        name, row = asked.name, self._rows.get(asked.name)
        if row is None or (row.engine, row.endpoint) != (asked.engine, asked.endpoint):
            return
        since = row.since if row.healthy is healthy else trio.current_time()
        kept = row.models if models is None else models
        self._rows[name] = replace(row, healthy=healthy, reason=reason, since=since, models=kept)
        self._fleet.set_backend(self._rows[name])


def parse_models(body: bytes) -> tuple[ModelCard, ...] | None:
    """The entries of an engine's `/v1/models`; None when the body is not a model list."""
    try:
        listing = msgspec.json.decode(body, type=_Listing)
        entries = listing.data or []
        return tuple(
            ModelCard(msgspec.convert(entry, _Entry).id, {key: entry[key] for key in entry if key != "id"})
            for entry in entries
        )
    except msgspec.MsgspecError:
        return None
