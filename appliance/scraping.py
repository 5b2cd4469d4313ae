"""What the metrics ask of others at each scrape, connected."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from appliance.encryption import Encryption
from appliance.events.journal import Journal
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import UNKNOWN_MODEL, Exchange, Phase
from appliance.health.report import ready
from appliance.limits.ledger import Ledger
from appliance.observe.log import ExchangeRecord
from appliance.observe.metrics import Metrics
from appliance.routing.catalogue import Catalogue
from appliance.upstream.upstreams import Upstreams
from appliance.usage.recorder import Recorder

_PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True, slots=True)
class Told:
    """Whoever knows a number that is told at each scrape."""

    fleet: FleetTable
    catalogue: Catalogue
    ledger: Ledger
    encryption: Encryption
    recorder: Recorder[ExchangeRecord]
    journal: Journal
    upstreams: Upstreams
    under_way: Mapping[str, Exchange]

    def listen(self, metrics: Metrics) -> None:
        """From now on the metrics ask."""
        standing = metrics.standing
        self.recorder.timed = metrics.recording.watch("usage", self.recorder)
        self.journal.writer.timed = metrics.recording.watch("events", self.journal.writer)
        standing.watch_models(lambda: ready(self.fleet.snapshot(), self.catalogue.targets_by_model()))
        standing.watch_targets(self._targets)
        standing.watch_phases(self._phases(metrics.exchanges.models))
        standing.watch_quotas(self.ledger.used)
        standing.watch_connections(self.upstreams.connections, self.upstreams.takings)
        if self.encryption.certificates is not None:
            certificates = self.encryption.certificates
            standing.watch_certificates(lambda: certificates.expiries)

    def _targets(self) -> dict[tuple[str, ...], float]:
        found = self.catalogue.targets_by_model()
        return {(model, target.name, target.owner): 1.0 for model, targets in found.items() for target in targets}

    def _phases(self, models: Callable[[], list[str]]) -> Callable[[], dict[tuple[str, ...], float]]:
        """How many exchanges of each model are in which phase; of models that were ever asked for, also none."""

        def now() -> dict[tuple[str, ...], float]:
            count = Counter((one.model, one.phase) for one in self.under_way.values() if one.model != UNKNOWN_MODEL)
            known = dict.fromkeys([*models(), *(model for model, _ in count)])
            return {(model, phase): float(count[model, phase]) for model in known for phase in _PHASES}

        return now
