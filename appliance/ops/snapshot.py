"""All that can be seen of the appliance at one moment, as one JSON object: for `status`, `top` and the console."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaStatus
from appliance.fleet.table import Fleet, FleetTable
from appliance.gateway.accounting import Exchange
from appliance.health.report import readiness
from appliance.observe.exchange_metrics import Totals
from appliance.ops.rates import Rate, Rates
from appliance.routing.catalogue import Catalogue

_MOST_REQUESTS = 200  # shown, the oldest first
_WAITS = ("loading", "queued")  # phases in which no engine works on a request yet


@dataclass(frozen=True, slots=True)
class Clocks:
    """Whose zero each time is counted from.

    Attributes:
        fleet: monotonic seconds, as in the rows of the fleet.
        exchanges: monotonic seconds, as in the accounts of exchanges and in circuits.
        date: seconds since 1970.
    """

    fleet: Callable[[], float]
    exchanges: Callable[[], float]
    date: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Whom to ask.

    Attributes:
        under_way: exchanges that are not settled.
        totals: sums of each model since the start.
        busy: exchanges under way by replica.
        gpus: as last seen.
        recording: how that of usage and of events does.
        overload: lines, circuits and suspects at a time of `clocks.exchanges`.
    """

    fleet: FleetTable
    catalogue: Catalogue
    clocks: Clocks
    under_way: Mapping[str, Exchange]
    totals: Callable[[], dict[str, Totals]]
    busy: Callable[[str], int]
    gpus: Callable[[], Sequence[Gpu]] = tuple
    recording: Callable[[], dict[str, object]] = dict
    overload: Callable[[float], dict[str, object]] = lambda _: {}
    rates: Rates = field(default_factory=Rates)

    def sample(self) -> None:
        """Look at the sums; once a second, so that there are rates."""
        streaming: Counter[str] = Counter()
        for exchange in self.under_way.values():
            if exchange.answer is not None:
                streaming[exchange.model] += exchange.answer.tokens
        self.rates.sample(self.clocks.fleet(), self.totals(), streaming)

    def take(self) -> dict[str, object]:
        """The object; `appliance/docs/events.md` describes it."""
        fleet, now, date = self.fleet.snapshot(), self.clocks.fleet(), self.clocks.date()
        return {
            "time": datetime.fromtimestamp(date, UTC).isoformat(timespec="milliseconds"),
            "models": self._models(fleet),
            "replicas": [self._replica(row, now) for row in fleet.replicas.values()],
            "backends": [
                {"name": row.name, "engine": row.engine, "healthy": row.healthy, "reason": row.reason}
                for row in fleet.backends.values()
            ],
            "gpus": [asdict(gpu) for gpu in self.gpus()],
            "requests": self._requests(),
            "in_flight": len(self.under_way),
            "output_tokens_per_second": list(self.rates.history),
            **self.recording(),
            **self.overload(self.clocks.exchanges()),
        }

    def _models(self, fleet: Fleet) -> list[dict[str, object]]:
        targets = self.catalogue.targets_by_model()
        under_way = Counter(exchange.model for exchange in self.under_way.values())
        waiting = Counter(exchange.model for exchange in self.under_way.values() if exchange.phase in _WAITS)
        return [
            {
                "name": name,
                **entry,
                "targets": [target.name for target in targets[name]],
                "in_flight": under_way[name],
                "waiting": waiting[name],
                **_rate(self.rates.of(name)),
            }
            for name, entry in readiness(fleet, targets).items()
        ]

    def _replica(self, row: ReplicaStatus, now: float) -> dict[str, object]:
        facts = asdict(row)
        del facts["endpoint"]  # its address is nobody's business, and its credential least of all
        facts["seconds"] = round(now - facts.pop("since"), 1)
        return facts | {"state": str(row.state), "busy": self.busy(row.replica)}

    def _requests(self) -> list[dict[str, object]]:
        now = self.clocks.exchanges()
        return [_request(exchange, now) for exchange in list(self.under_way.values())[:_MOST_REQUESTS]]


def _request(exchange: Exchange, now: float) -> dict[str, object]:
    first = exchange.first_token
    return {
        "id": exchange.request_id,
        "internal_id": exchange.internal_id,
        "key": exchange.key,
        "model": exchange.model,
        "operation": str(exchange.operation),
        "target": exchange.target,
        "phase": exchange.phase,
        "stream": exchange.stream,
        "peer": exchange.peer,
        "seconds": round(now - exchange.started, 3),
        "first_token": None if first is None else round(first - exchange.started, 3),
        "tokens": 0 if exchange.answer is None else exchange.answer.tokens,
    }


def _rate(rate: Rate) -> dict[str, object]:
    return {
        "requests_per_second": round(rate.requests, 2),
        "input_tokens_per_second": round(rate.input, 1),
        "output_tokens_per_second": round(rate.output, 1),
        "first_token_p95": None if rate.first_token is None else round(rate.first_token, 3),
    }
