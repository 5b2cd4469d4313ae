"""The whole path behind the doors, with scripted model servers: what endpoints and pipeline tests talk to."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from appliance.access.keys import KeyRing
from appliance.api.dispatch import Dispatch
from appliance.api.endpoints import Endpoints
from appliance.api.routes import Router
from appliance.breakers.panel import Panel
from appliance.config.schema import Backend, Guardrail, Limits, Model, Provider, Runtime
from appliance.domain.http import Headers, Reply, Request
from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Accounts
from appliance.gateway.attempts import Attempts
from appliance.gateway.listing import Listing
from appliance.gateway.outcomes import Outcomes
from appliance.gateway.pipeline import Gateway
from appliance.gateway.queues import QueueRules, Queues
from appliance.gateway.trials import Trials
from appliance.guardrails.rules import Guardrails
from appliance.limits.ledger import Ledger
from appliance.observe.log import ExchangeRecord, log_exchange
from appliance.observe.metrics import Metrics
from appliance.ops.probes import Probes
from appliance.routing.catalogue import Catalogue
from appliance.routing.clouds import Clouds
from appliance.upstream.deadlines import Deadlines
from tests.fakes.runtime import FakeRuntime
from tests.fakes.upstreams import ScriptedUpstreams

BOX = (Backend(name="box", engine="vllm", url="http://box:8000"), Endpoint(Address("http", "box", 8000)))


class Bytes:
    """A body that is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        return self._body


class Path:
    """Everything from `Dispatch` to the fake upstreams, in one place for a test."""

    def __init__(
        self,
        upstreams: ScriptedUpstreams | None = None,
        runtime: FakeRuntime | None = None,
        limits: dict[str, Limits] | None = None,
        clock: Callable[[], float] | None = None,
        rules: QueueRules | None = None,
        guardrails: Sequence[Guardrail] = (),
    ) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.fleet = FleetTable()
        self.runtime = runtime or FakeRuntime()
        self.upstreams = upstreams or ScriptedUpstreams()
        runtimes = [Runtime(name="m", engine="llama.cpp", model="/m.gguf")]
        models = [
            Model(name="both", targets=("m", "box/x"), default=True),
            Model(name="remote", targets=("box/x",)),
            Model(name="m", targets=("m",), kind="chat"),
        ]
        catalogue = Catalogue(models, runtimes, [BOX], Clouds.of([Provider(name="openai")], [], {}))
        deadlines = Deadlines(1, 1, 1, 0)
        ticks = iter(range(10**6))
        clock = clock or (lambda: float(next(ticks)))
        self.queues = Queues(rules or QueueRules(), clock, self.metrics)
        self.trials = Trials(clock, 60, self.queues.step_aside)
        self.panel = Panel(5)
        self.outcomes = Outcomes(self.panel, self.queues, self.trials)
        for watcher in (self.queues, self.trials, self.panel):
            self.fleet.watch_replicas(watcher.replica_changed)
        self.attempts = Attempts(
            self.fleet, self.runtime, cast("Any", self.upstreams), deadlines, {"box": 4}, self.metrics, self.outcomes
        )
        self.ledger = Ledger(limits or {}, date=lambda: 1_800_000_000.0)
        self.gateway = Gateway(catalogue, self.fleet, self.attempts, self.ledger, Guardrails(guardrails))
        self.records: list[ExchangeRecord] = []
        self.accounts = Accounts(self.metrics, clock, lambda: 7.0, lambda: "0" * 32, self._log, ends=self.outcomes)
        self.keys = KeyRing((), [Secret("sk-a")], date=lambda: 1_800_000_000.0)
        listing = Listing(catalogue, self.fleet, 1_700_000_000)
        endpoints = Endpoints(self.keys, self.gateway, listing, self.accounts, self.ledger, 10_000)
        probes = Probes(self.keys, self.fleet, catalogue, self.metrics)
        self.dispatch = Dispatch(Router(endpoints.routes() + probes.routes()), self.metrics, lambda: "1" * 32)

    def _log(self, record: ExchangeRecord) -> None:
        self.records.append(record)
        log_exchange(record)

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, key: str | None = "sk-a", headers: Headers | None = None
    ) -> Reply:
        sent = [*(headers or []), *([("authorization", f"Bearer {key}")] if key else [])]
        return await self.dispatch(Request(method, path, "", sent, "127.0.0.1", Bytes(body)))


def header(reply: Reply, name: str) -> str | None:
    return next((value for key, value in reply.all_headers() if key == name), None)
