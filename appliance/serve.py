"""Builds the whole from a Config and runs it: the only file that knows every class.

Start order: log, sockets, upstreams, supervisor, prober, door. Stop order, on INT, TERM or cancellation: refuse new
work, let streams finish for `drain`, end the rest with an error event, close connections, stop every engine.
A second signal skips the wait.
"""

import logging
import random
import resource
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from appliance import __version__
from appliance.access.hosts import KnownHosts
from appliance.access.keys import KeyRing
from appliance.api.dispatch import Dispatch
from appliance.api.endpoints import Endpoints
from appliance.api.quart_app import App, build_app
from appliance.api.routes import Router
from appliance.config.check import is_loopback, split_listen
from appliance.config.pem import pairs_of
from appliance.config.schema import Backend, Config
from appliance.domain.engines import ENGINES
from appliance.domain.secret import Secret
from appliance.domain.status import ProbeAnswer
from appliance.domain.targets import Address, Endpoint
from appliance.door.certificates import Certificates
from appliance.door.connection import Patience, Surroundings
from appliance.door.handover import Handover
from appliance.door.listener import Caps, Listener, descriptors
from appliance.door.reception import Reception
from appliance.door.reply import Clock
from appliance.door.tls import handshake
from appliance.door.watch import Watch
from appliance.errors import GatewayError, OperatorError
from appliance.fleet.table import FleetTable
from appliance.garbage import collect, seldom
from appliance.gateway.accounting import Accounts
from appliance.gateway.attempts import Attempts
from appliance.gateway.listing import Listing
from appliance.gateway.pipeline import Gateway
from appliance.gpus.reader import GpuReader, reader_of
from appliance.health.prober import Prober
from appliance.http1.incoming import HeadLimits
from appliance.limits.ledger import Ledger
from appliance.observe.log import ExchangeRecord, log_exchange, log_replica
from appliance.observe.metrics import Metrics
from appliance.ops.orders import OrderRoutes
from appliance.ops.probes import Probes
from appliance.routing.catalogue import Catalogue
from appliance.sockets.readiness import Readiness
from appliance.supervisor import environment
from appliance.supervisor.orders import Operator
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.watching import Senses
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.probe import probe, send
from appliance.upstream.upstreams import Upstreams
from appliance.usage.recorder import Keeping, Recorder
from appliance.usage.store import FILE, Row

_LOG = logging.getLogger("appliance.serve")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_IDS_AT_ONCE = 64
_CLOSING = 4.0  # seconds for error events and last bytes to leave, after `drain`


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        host, port: where it listens.
        fleet: what is up.
    """

    host: str
    port: int
    fleet: FleetTable


async def serve(
    config: Config,
    *,
    api_keys: Sequence[Secret] = (),
    credentials: dict[str, Secret] | None = None,
    listen_signals: bool = True,
    log: Callable[[ExchangeRecord], None] = log_exchange,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until a signal or cancellation; no process of ours is left when it returns.

    Args:
        config: checked.
        api_keys: keys from the environment.
        credentials: of backends, by backend name.
        listen_signals: INT and TERM end it gracefully.
        log: takes the line of each exchange.
        task_status: started once the API listens; models may still be loading.

    Raises:
        OperatorError: the address or the state directory cannot be used.
    """
    try:
        parts = _build(config, api_keys, credentials or {}, log)
        await _serve(config, parts, task_status, listen_signals=listen_signals)
    except* OperatorError as group:
        raise _first_mistake(group) from None


async def _serve(
    config: Config, parts: "_Parts", task_status: trio.TaskStatus[Running], *, listen_signals: bool
) -> None:
    async with AsyncExitStack() as stack:
        # Received from the first moment on: a TERM during the start must stop engines as well.
        signals = stack.enter_context(trio.open_signal_receiver(*_STOP_SIGNALS)) if listen_signals else None
        stack.push_async_callback(parts.upstreams.aclose)
        if parts.gpus is not None:
            stack.push_async_callback(parts.gpus.aclose)
        host, port = split_listen(config.server.listen)
        server, room = config.server, descriptors()
        caps = Caps(min(server.max_connections or room, room), server.connections_per_address)
        listener = await Listener.bind(host, port, parts.reception, caps)
        stack.callback(listener.close)
        parts.metrics.watch_connections(lambda: listener.connections)
        async with trio.open_nursery() as core:
            await core.start(parts.supervisor.run, name="supervisor")
            core.start_soon(parts.recorder.run, name="usage")
            core.start_soon(parts.prober.run, name="prober")
            await core.start(parts.handover.run_lifespan, name="quart")
            core.start_soon(parts.watch.run, name="watch")
            if parts.certificates is not None:
                core.start_soon(parts.certificates.watch, name="certificates")
            core.start_soon(listener.run, name="door")
            stack.enter_context(seldom())
            core.start_soon(collect, lambda: parts.readiness.flowing, name="garbage")
            _LOG.info("listening on %s:%d", listener.host, listener.port)
            task_status.started(Running(listener.host, listener.port, parts.fleet))
            if signals is not None:
                await anext(signals)
                await _stop(parts, listener, config.server.drain, signals)
                parts.handover.abort()
                parts.reception.cut()
                core.cancel_scope.cancel()
        _LOG.info("stopped")


def _first_mistake(group: BaseExceptionGroup[OperatorError]) -> OperatorError:
    inner = group.exceptions[0]
    return _first_mistake(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _stop(parts: "_Parts", listener: Listener, drain: float, signals: AsyncIterator[int]) -> None:
    """Drain; a second signal skips the wait."""
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await anext(signals)
            nursery.cancel_scope.cancel()

        nursery.start_soon(hurry, name="second signal")
        await _drain(parts, listener, drain)
        nursery.cancel_scope.cancel()


async def _drain(parts: "_Parts", listener: Listener, drain: float) -> None:
    _LOG.info("stopping: streams may finish for %g s; a second signal skips the wait", drain)
    parts.gateway.draining = True
    parts.supervisor.drain()
    listener.stop_accepting()
    parts.reception.close_idle()
    await parts.handover.close_idle()
    with trio.move_on_after(drain):
        await _connections_end(listener)
    message = "The server is going away and could not wait for the end of this answer. Try again."
    parts.interrupt(GatewayError("draining", message, retry_after=5))
    with trio.move_on_after(_CLOSING):
        await _connections_end(listener)


async def _connections_end(listener: Listener) -> None:
    """Each connection closes after its current exchange, so the last one to end is the last answer sent."""
    while listener.connections:
        await trio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class _Parts:
    fleet: FleetTable
    upstreams: Upstreams
    supervisor: Supervisor
    prober: Prober
    gateway: Gateway
    handover: Handover
    reception: Reception
    watch: Watch
    metrics: Metrics
    certificates: Certificates | None
    quart: App
    recorder: Recorder[ExchangeRecord]
    readiness: Readiness
    gpus: GpuReader | None

    def interrupt(self, error: GatewayError) -> None:
        """End everything under way: streams with an error event, requests without an answer yet with the error."""
        self.gateway.interrupt(error)
        self.reception.interrupt(error)
        self.quart.interrupt(error)


def _build(
    config: Config,
    api_keys: Sequence[Secret],
    credentials: dict[str, Secret],
    log: Callable[[ExchangeRecord], None],
) -> _Parts:
    server = config.server
    fleet, metrics, readiness = FleetTable(), Metrics(), Readiness()
    upstreams = Upstreams(readiness=readiness)
    metrics.build_info(__version__)
    fleet.watch_replicas(metrics.replica_changed)
    fleet.watch_replicas(log_replica)
    fleet.watch_backends(metrics.backend_seen)
    backends = [(item, Endpoint(Address.from_url(item.url), credentials.get(item.name))) for item in config.backends]
    catalogue = Catalogue(config.models, config.runtimes, backends)
    gpus = reader_of(server.gpu_file, environment.inherited({}), metrics.gpus_seen)
    supervisor = _supervisor(config, fleet, upstreams, gpus)
    prober = Prober(backends, fleet, partial(_ask, upstreams), server.probe_interval)
    deadlines = Deadlines(
        server.connect_timeout, server.first_byte_timeout, server.between_bytes_timeout, server.total_timeout
    )
    attempts = Attempts(fleet, supervisor, upstreams, deadlines, _caps(config.backends), metrics)
    ledger = Ledger({key.name: key.limits for key in config.keys if key.limits is not None})
    gateway = Gateway(catalogue, fleet, attempts)
    keyless = _needs_no_key(config, api_keys)
    if keyless:
        _LOG.warning("no key is asked for: whoever reaches %s may use every model", server.listen)
    keys = KeyRing(config.keys, api_keys, open=keyless)
    hosts = KnownHosts(server.names, socket.gethostname()) if keyless else None
    recorder = _recorder(config)

    def account(record: ExchangeRecord) -> None:
        log(record)
        if record.target:  # what was refused before it had one used nothing
            recorder.take(record)

    accounts = Accounts(metrics, time.monotonic, _Ids(), account)
    listing = Listing(catalogue, fleet, int(time.clock_gettime(time.CLOCK_REALTIME)))
    endpoints = Endpoints(keys, gateway, listing, accounts, ledger, server.max_body)
    probes = Probes(keys, fleet, catalogue, metrics)
    operator = Operator(supervisor, state_dir=Path(server.state_dir), patience=server.load_wait, drain=server.drain)
    orders = OrderRoutes(keys, fleet, operator, time.monotonic, supervisor.busy, gpus.last if gpus else tuple)
    routes = endpoints.routes() + probes.routes() + orders.routes()
    dispatch = Dispatch(Router(routes), metrics, accounts.new_id, hosts)
    app = build_app(dispatch, max_body=server.max_body, body_timeout=server.body_timeout)
    handover = Handover(app, write_stall=server.write_stall)
    watch = Watch()
    around = _surroundings(config, dispatch, handover, watch, metrics, readiness)
    certificates = _certificates(config)
    secure = partial(handshake, certificates=certificates) if certificates else None
    reception = Reception(around, metrics, secure)
    return _Parts(
        fleet,
        upstreams,
        supervisor,
        prober,
        gateway,
        handover,
        reception,
        watch,
        metrics,
        certificates,
        app,
        recorder,
        readiness,
        gpus,
    )


def _recorder(config: Config) -> Recorder[ExchangeRecord]:
    keeping = Keeping(config.usage.keep, config.usage.max_size)
    now = partial(time.clock_gettime, time.CLOCK_REALTIME)
    return Recorder(Path(config.server.state_dir) / FILE, keeping, now, _row)


def _row(at: float, record: ExchangeRecord) -> Row:
    usage = record.usage
    return Row(
        at=at,
        request_id=record.request_id,
        key=record.key,
        model=record.model,
        operation=record.operation,
        target=record.target,
        status=record.status,
        outcome=record.outcome,
        code=record.error_code,
        stream=record.stream,
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        estimated=usage.estimated,
        first_token=record.ttft_s,
        duration=record.duration_s,
        bytes=record.bytes_out,
    )


def _certificates(config: Config) -> Certificates | None:
    server = config.server
    pairs = pairs_of(server.tls)
    if pairs:
        return Certificates(pairs, http2=server.http2, now=partial(time.clock_gettime, time.CLOCK_REALTIME))
    if not is_loopback(split_listen(server.listen)[0]):
        _LOG.warning("TLS is off: keys and prompts cross the network to %s in the clear", server.listen)
    return None


def _surroundings(
    config: Config,
    dispatch: Dispatch,
    handover: Handover,
    watch: Watch,
    metrics: Metrics,
    readiness: Readiness,
) -> Surroundings:
    server = config.server
    return Surroundings(
        dispatch,
        handover.connection,
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


def _needs_no_key(config: Config, api_keys: Sequence[Secret]) -> bool:
    """`check` has refused a server that is open by accident: without keys it listens on loopback only."""
    return config.server.auth == "open" or not (config.keys or api_keys)


def _caps(backends: Sequence[Backend]) -> dict[str, int]:
    return {backend.name: backend.max_connections for backend in backends}


def _supervisor(config: Config, fleet: FleetTable, upstreams: Upstreams, gpus: GpuReader | None) -> Supervisor:
    server = config.server

    async def ask(endpoint: Endpoint, path: str) -> ProbeAnswer:
        return await _ask(upstreams, endpoint, path, ENGINES["llama.cpp"].loading_status)

    date = partial(time.clock_gettime, time.CLOCK_REALTIME)
    return Supervisor(
        config.runtimes,
        state_dir=Path(server.state_dir),
        fleet=fleet,
        senses=Senses(ask, random.random, date, server.probe_interval, partial(send, upstreams)),
        load_wait=server.load_wait,
        load_queue=server.load_queue,
        residence=server.residence,
        drain=server.drain,
        gpus=gpus.read if gpus else None,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
    )


async def _ask(upstreams: Upstreams, endpoint: Endpoint, path: str, loading_status: int | None) -> ProbeAnswer:
    return await probe(upstreams, endpoint, path, loading_status=loading_status)
