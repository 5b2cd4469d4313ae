"""What operators may ask and order: the routes of `/ops/v1`, for those with a key and for those on the box itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from appliance.api.routes import Route
from appliance.domain.gpus import Gpu
from appliance.editing import Editor
from appliance.events.journal import Journal
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Accounts
from appliance.gateway.outcomes import Outcomes
from appliance.observe.log import ExchangeRecord
from appliance.ops.config import ConfigRoutes
from appliance.ops.events import EventRoutes
from appliance.ops.gate import Gate
from appliance.ops.keys import KeyRoutes
from appliance.ops.live import Live, LiveRoutes
from appliance.ops.models import ModelRoutes
from appliance.ops.orders import OrderRoutes
from appliance.ops.requests import RequestRoutes
from appliance.ops.snapshot import Clocks, Snapshot
from appliance.ops.usage import UsageRoutes
from appliance.roster import Admission
from appliance.routing.catalogue import Catalogue
from appliance.supervisor.orders import Operator
from appliance.supervisor.supervisor import Supervisor
from appliance.usage.recorder import Recorder
from appliance.usage.store import FILE

Surface = LiveRoutes | OrderRoutes | KeyRoutes | UsageRoutes | RequestRoutes | ConfigRoutes | ModelRoutes | EventRoutes


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to be seen by operators."""

    fleet: FleetTable
    catalogue: Catalogue
    accounts: Accounts
    supervisor: Supervisor
    outcomes: Outcomes
    recorder: Recorder[ExchangeRecord]
    journal: Journal
    gpus: Callable[[], Sequence[Gpu]]


@dataclass(frozen=True, slots=True)
class FileSurfaces:
    """What changes the configuration file."""

    config: ConfigRoutes
    models: ModelRoutes


@dataclass(frozen=True, slots=True)
class Operating:
    """What operators may do.

    Attributes:
        live: runs while the server does.
        snapshot: all that can be seen.
        orders: all that can be ordered of runtimes and replicas.
        requests: those under way.
        file: what changes the configuration file; None where there is none.
    """

    live: Live
    surfaces: tuple[Surface, ...]
    snapshot: Snapshot
    orders: OrderRoutes
    requests: RequestRoutes
    keys: KeyRoutes
    usage: UsageRoutes
    file: FileSurfaces | None

    def routes(self) -> list[Route]:
        """For whoever has a key."""
        return _routes(self.surfaces)

    def on_the_box(self) -> list[Route]:
        """For whoever can reach them, which takes no key."""
        return _routes([replace(surface, gate=replace(surface.gate, keys=None)) for surface in self.surfaces])


def operating_of(
    seen: Seen, operator: Operator, admission: Admission, editor: Editor | None, state_dir: Path
) -> Operating:
    """Everything of one server."""
    gate, date = Gate(admission.ring, seen.journal), partial(time.clock_gettime, time.CLOCK_REALTIME)
    # Trio's clock, as in the rows of the fleet: its zero is another one than that of other clocks.
    clocks = Clocks(trio.current_time, seen.accounts.clock, date)
    snapshot = Snapshot(
        seen.fleet,
        seen.catalogue,
        clocks,
        seen.accounts.under_way,
        seen.accounts.metrics.exchanges.totals,
        seen.supervisor.busy,
        seen.gpus,
        lambda: {"usage": seen.recorder.standing, "events": seen.journal.standing},
        seen.outcomes.report,
    )
    live = Live(snapshot)
    keyless = admission.open
    keys = KeyRoutes(gate, admission.keeper, admission.roster.sections, date, asks_for_keys=not keyless)
    orders = OrderRoutes(gate, operator, editor.reload if editor else None)
    requests = RequestRoutes(gate, seen.accounts.under_way)
    usage = UsageRoutes(gate, state_dir / FILE, date, seen.recorder.flush)
    surfaces: tuple[Surface, ...] = (
        LiveRoutes(gate, snapshot, live),
        orders,
        keys,
        usage,
        requests,
        EventRoutes(gate, seen.journal),
    )
    file = None
    if editor is not None:
        file = FileSurfaces(ConfigRoutes(gate, editor), ModelRoutes(gate, editor, seen.catalogue, seen.fleet))
        surfaces += file.config, file.models
    return Operating(live, surfaces, snapshot, orders, requests, keys, usage, file)


def _routes(surfaces: Sequence[Surface]) -> list[Route]:
    return [route for surface in surfaces for route in surface.routes()]
