"""Connects all classes: from a configuration to the parts of a server. Only `serve` knows as many of them.

Quart and Hypercorn are imported with the rest. Imported once the server listens they would let it listen a sixth
sooner, and hold up its first streams: the first tokens of 64 were 50 ms late in place of 5. And where one is missing, a
server that this one was to take over from goes on.
"""

import random
import resource
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

from appliance import __version__
from appliance.access.hosts import KnownHosts
from appliance.access.pace import Pace
from appliance.api.dispatch import Dispatch
from appliance.api.endpoints import Endpoints
from appliance.api.quart_app import App, build_app
from appliance.api.realtime import RealtimeEndpoint
from appliance.api.routes import Route, Router
from appliance.config.address import root_url
from appliance.config.file import ConfigFile
from appliance.config.schema import Config
from appliance.config.secrets import process_environment
from appliance.console.pulse import Pulse
from appliance.console.talking import own_credential
from appliance.console_parts import ConsoleParts, Sources
from appliance.diagnosis.examination import examination_of
from appliance.domain.engines import ENGINES
from appliance.domain.secret import Secret
from appliance.domain.status import ProbeAnswer, ReplicaStatus
from appliance.domain.targets import Endpoint
from appliance.door.handover import Handover
from appliance.door.reception import Reception
from appliance.door.reply import Clock
from appliance.door.surroundings import Patience, Surroundings
from appliance.door.tls import handshake
from appliance.door.watch import Watch
from appliance.editing import Editor
from appliance.encryption import Encryption, encryption_of
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Accounts
from appliance.gateway.attempts import Attempts
from appliance.gateway.listing import Listing
from appliance.gateway.outcomes import Outcomes
from appliance.gateway.pipeline import Gateway
from appliance.gateway.realtime import Realtime
from appliance.gpus.reader import GpuReader, reader_of
from appliance.health.prober import Prober
from appliance.http1.incoming import HeadLimits
from appliance.keystore.keeper import Keeper
from appliance.limits.ledger import Ledger
from appliance.observe.host import Host
from appliance.observe.log import ExchangeRecord, log_replica
from appliance.observe.metrics import Metrics
from appliance.observe.replica_metrics import ReplicaMetrics
from appliance.operating import Operating, Seen, operating_of
from appliance.ops.gate import Gate
from appliance.ops.probes import Probes
from appliance.ops.sockets import FeedSockets
from appliance.ops.trust import Trust
from appliance.ops.upgrade import UpgradeRoutes
from appliance.pages.site import Site
from appliance.policy import outcomes_of, put_into_effect
from appliance.private_door import PrivateDoor
from appliance.recording import recorder_of
from appliance.reload import Live, Reloader, endpoints_of, guardrails_of, most_connections
from appliance.roster import admission_of
from appliance.routing.catalogue import Catalogue
from appliance.routing.clouds import Clouds
from appliance.scraping import Told
from appliance.sockets.readiness import Readiness
from appliance.supervisor import environment
from appliance.supervisor.orders import Operator
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.watching import Senses
from appliance.telling import Telling
from appliance.upgrades import Origin, Upgrades
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.probe import probe, send
from appliance.upstream.upstreams import Upstreams
from appliance.usage.recorder import Recorder

_IDS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that runs, or is asked by something that runs."""

    fleet: FleetTable
    upstreams: Upstreams
    supervisor: Supervisor
    prober: Prober
    gateway: Gateway
    quart: App
    second_door: Handover
    reception: Reception
    private: PrivateDoor
    watch: Watch
    metrics: Metrics
    host: Host
    encryption: Encryption
    recorder: Recorder[ExchangeRecord]
    keeper: Keeper
    readiness: Readiness
    gpus: GpuReader | None
    reloader: Reloader | None
    operating: Operating
    console: ConsoleParts
    telling: Telling
    ledger: Ledger
    outcomes: Outcomes
    upgrades: Upgrades
    table: Sequence[Route]

    def interrupt(self, error: GatewayError) -> None:
        """End everything under way: streams with an error event, requests without an answer yet with the error."""
        self.gateway.interrupt(error)
        self.reception.interrupt(error)
        self.quart.interrupt(error)


def build(
    config: Config,
    api_keys: Sequence[Secret],
    credentials: dict[str, Secret],
    log: Callable[[ExchangeRecord], None],
    file: ConfigFile | None,
    origin: Origin | None = None,
) -> Parts:
    """The parts of one server, connected and not yet running.

    Args:
        config: checked.
        api_keys: keys from the environment.
        credentials: as `config.secrets.credentials` names them.
        log: takes the line of each exchange.
        file: with the configuration as it is now; None where there is none.
        origin: what this process was started with; without it there are no upgrades.
    """
    server = config.server
    date = partial(time.clock_gettime, time.CLOCK_REALTIME)
    fleet, metrics, readiness = FleetTable(), Metrics(), Readiness()
    telling = Telling(config, fleet)
    upstreams = Upstreams(readiness=readiness)
    _watch(fleet, metrics)
    backends = endpoints_of(config.backends, credentials)
    catalogue = Catalogue(
        config.models, config.runtimes, backends, Clouds.of(config.providers, config.keys, credentials)
    )
    gpus = reader_of(server.gpu_file, environment.inherited({}), telling.also_gpus(metrics.gpus.seen))
    outcomes = outcomes_of(config, fleet, metrics, time.monotonic, telling.circuit_changed)  # before there are rows
    supervisor = _supervisor(config, fleet, upstreams, gpus, metrics.replicas, telling)
    prober = Prober(backends, fleet, partial(_ask, upstreams), server.probe_interval)
    deadlines = Deadlines(
        server.connect_timeout, server.first_byte_timeout, server.between_bytes_timeout, server.total_timeout
    )
    attempts = Attempts(
        fleet,
        supervisor,
        upstreams,
        deadlines,
        most_connections(config),
        metrics,
        outcomes,
    )
    recorder = recorder_of(config)
    own, pulse, pace = Secret(secrets.token_urlsafe(32)), Pulse(), Pace()
    admission = admission_of(config, api_keys, recorder, date, [own_credential(own)])
    keys, ledger = admission.ring, admission.ledger
    gateway = Gateway(catalogue, fleet, attempts, ledger, guardrails_of(config))
    admission.roster.watch(partial(put_into_effect, outcomes, gateway))
    telling.listen(recorder, admission.roster)
    known = KnownHosts(server.names, socket.gethostname())
    hosts = known if admission.open else None
    encryption = encryption_of(config, known)
    account = telling.account(log, pulse.fresh.append, recorder.take)
    accounts = Accounts(metrics, time.monotonic, date, _Ids(), account, server.gateway_headers, outcomes)
    Told(fleet, catalogue, ledger, encryption, recorder, telling.journal, upstreams, accounts.under_way).listen(metrics)
    listing = Listing(catalogue, fleet, int(time.clock_gettime(time.CLOCK_REALTIME)))
    endpoints = Endpoints(keys, gateway, listing, accounts, ledger, server.max_body)
    probes = Probes(keys, fleet, catalogue, metrics)
    operator = Operator(supervisor, state_dir=Path(server.state_dir), patience=server.load_wait, drain=server.drain)
    live = Live(admission.roster, gateway, prober, operator, metrics, recorder, encryption.answer_to, telling)
    reloader = Reloader(config, live, file.fresh, api_keys, date) if file else None

    seen = Seen(
        fleet, catalogue, accounts, supervisor, outcomes, recorder, telling.journal, gpus.last if gpus else tuple
    )
    operating = operating_of(seen, operator, admission, Editor.of(file, reloader), Path(server.state_dir))
    sources = Sources(
        operating,
        fleet,
        catalogue,
        accounts,
        keys,
        known,
        pace,
        pulse,
        own,
        date,
        lambda request: dispatch(request),  # noqa: PLW0108 - which is made below, of the console's routes too
        lambda: gateway.draining,
        _disks(config),
        root_url(server, socket.gethostname()),
        examination_of(file.path, process_environment(), date) if file else None,
    )
    console = ConsoleParts(sources)
    surfaces = (endpoints, probes, Trust(encryption.authority), operating, console.links)
    table = _table([route for surface in surfaces for route in surface.routes()], known)
    dispatch = Dispatch(Router(table), metrics, accounts.new_id, hosts, pace)
    quart = build_app(
        replace(dispatch, router=Router([*table, *console.routes])),
        max_body=server.max_body,
        body_timeout=server.body_timeout,
        sockets=[
            RealtimeEndpoint(keys, Realtime(gateway), accounts, ledger, metrics, hosts, dispatch.pace),
            FeedSockets(dispatch),
        ],
    )
    second_door = Handover(quart, write_stall=server.write_stall)
    watch = Watch()
    around = _surroundings(config, dispatch, second_door, watch, metrics, readiness)
    secure = partial(handshake, certificates=encryption.certificates) if encryption.certificates else None
    reception = Reception(around, metrics, secure)
    upgrades = Upgrades(origin or Origin(), reloader)
    upgrading = UpgradeRoutes(Gate(None, telling.journal), upgrades.order)
    private = PrivateDoor(
        Path(server.state_dir),
        operating.on_the_box() + probes.on_the_box() + console.on_the_box() + upgrading.routes(),
        around,
        dispatch,
        metrics,
    )
    return Parts(
        fleet,
        upstreams,
        supervisor,
        prober,
        gateway,
        quart,
        second_door,
        reception,
        private,
        watch,
        metrics,
        Host(metrics.host, _disks(config)),
        encryption,
        recorder,
        admission.keeper,
        readiness,
        gpus,
        reloader,
        operating,
        console,
        telling,
        ledger,
        outcomes,
        upgrades,
        table,
    )


def _watch(fleet: FleetTable, metrics: Metrics) -> None:
    """Count and log what becomes of replicas and backends."""
    metrics.build_info(__version__)
    fleet.watch_replicas(metrics.replicas.changed)
    fleet.watch_replicas(log_replica)
    fleet.watch_backends(metrics.backend_seen)
    fleet.watch_drops(metrics.row_dropped)


def _table(routes: list[Route], known: KnownHosts) -> list[Route]:
    """All routes: what is served, and what describes it."""
    table = routes.copy()
    table += Site(lambda: table, __version__, known).routes()
    return table


def _disks(config: Config) -> dict[str, str]:
    """A path on each disk whose space matters."""
    models = [runtime.model for runtime in config.runtimes if runtime.model.startswith("/")]
    return {"state": config.server.state_dir} | ({"models": models[0]} if models else {})


def _surroundings(
    config: Config,
    dispatch: Dispatch,
    second_door: Handover,
    watch: Watch,
    metrics: Metrics,
    readiness: Readiness,
) -> Surroundings:
    server = config.server
    return Surroundings(
        dispatch,
        second_door.connection,
        watch,
        Clock(partial(time.clock_gettime, time.CLOCK_REALTIME)),
        events=metrics,
        patience=Patience(server.head_timeout, server.body_timeout, server.idle_timeout, server.write_stall),
        limits=HeadLimits(head=server.max_head, headers=server.max_headers),
        max_body=server.max_body,
        readiness=readiness,
    )


class _Ids:
    """Random ids of 32 hex digits; the system is asked for many at a time."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        if not self._left:
            digits = secrets.token_hex(_IDS_AT_ONCE * 16)
            self._left = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        return self._left.pop()


def _supervisor(
    config: Config,
    fleet: FleetTable,
    upstreams: Upstreams,
    gpus: GpuReader | None,
    replicas: ReplicaMetrics,
    telling: Telling,
) -> Supervisor:
    server = config.server

    async def ask(endpoint: Endpoint, path: str) -> ProbeAnswer:
        return await _ask(upstreams, endpoint, path, ENGINES["llama.cpp"].loading_status)

    def made_room(going: ReplicaStatus, coming: str) -> None:
        replicas.made_room(going)
        telling.made_room(going, coming)

    date = partial(time.clock_gettime, time.CLOCK_REALTIME)
    return Supervisor(
        config.runtimes,
        state_dir=Path(server.state_dir),
        fleet=fleet,
        senses=Senses(
            ask,
            random.random,
            date,
            server.probe_interval,
            partial(send, upstreams),
            told=replicas.engine_told,
            weighed=replicas.weighed,
            missed=replicas.probe_missed,
            made_room=made_room,
        ),
        load_wait=server.load_wait,
        load_queue=server.load_queue,
        residence=server.residence,
        drain=server.drain,
        make_room=server.make_room or inf,
        gpus=gpus.read if gpus else None,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
    )


async def _ask(upstreams: Upstreams, endpoint: Endpoint, path: str, loading_status: int | None) -> ProbeAnswer:
    return await probe(upstreams, endpoint, path, loading_status=loading_status)
