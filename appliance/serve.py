"""Runs a server from its first breath to its last. `parts` builds what runs here.

Start order: log, sockets, upstreams, second door, supervisor, prober, door. Stop order, on INT, TERM or cancellation:
refuse new work, let streams finish for `drain`, end the rest with an error event, close connections, stop every engine.
A second signal skips the wait.

After an upgrade it is the other process that serves: what is under way here has `drain` to end just as well, and the
engines are that one's. A signal to this process then skips the wait.
"""

import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TextIO

import trio

from appliance import __version__
from appliance.config.check import split_listen
from appliance.config.file import ConfigFile
from appliance.config.schema import Config
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState
from appliance.door.listener import Caps, Listener, descriptors
from appliance.errors import GatewayError, OperatorError
from appliance.fleet.table import FleetTable
from appliance.garbage import collect, seldom
from appliance.handing_over import Estate
from appliance.large_pages import keep as keep_in_large_pages
from appliance.observe.log import ExchangeRecord, log_exchange
from appliance.parts import Parts, build
from appliance.reload import Reloader
from appliance.service.heartbeat import beat
from appliance.service.notify import Manager
from appliance.supervisor.orphans import collect_orphans
from appliance.takeover.taking import Taking
from appliance.taking_over import Heir
from appliance.upgrades import Origin

_LOG = logging.getLogger("appliance.serve")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COLLECT = 0.5  # seconds between two looks for model processes that ended as our children and are another's to mourn
_CLOSING = 4.0  # seconds for error events and last bytes to leave, after `drain`
_LAST_ENGINE = 60.0  # seconds that the engines' own ends may take after that; asked for, not granted here


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
    file: ConfigFile | None = None,
    listen_signals: bool = True,
    manager: Manager | None = None,
    dump: TextIO | None = None,
    log: Callable[[ExchangeRecord], None] = log_exchange,
    origin: Origin | None = None,
    taking: Taking | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until a signal or cancellation; no process of ours is left when it returns, unless another one of ours has
    taken over.

    Args:
        config: checked.
        api_keys: keys from the environment.
        credentials: as `config.secrets.credentials` names them.
        file: with the configuration as it is now, for a reload; None where there is none.
        listen_signals: INT and TERM end it gracefully, HUP reloads.
        manager: whoever watches over us and wants to know how we do.
        dump: a file that gets every thread's stack when the event loop is held up.
        log: takes the line of each exchange.
        origin: what this process was started with; without it there are no upgrades.
        taking: from a process that we take over from.
        task_status: started once the API listens; models may still be loading.

    Raises:
        OperatorError: the address or the state directory cannot be used.
    """
    mistake: OperatorError | None = None
    try:
        parts = build(config, api_keys, credentials or {}, log, file, origin)
        watched = _Watched(manager or Manager(), dump)
        await _serve(config, parts, task_status, watched, taking, listen_signals=listen_signals)
    except* OperatorError as group:
        mistake = _first_mistake(group)
    if mistake is not None:
        if taking is not None:
            taking.refuse(str(mistake))
        raise mistake  # not above: until Python 3.11.4 that would have raised a group again


@dataclass(frozen=True, slots=True)
class _Watched:
    """Who is told how we do, and where the stacks go when the event loop is held up."""

    manager: Manager
    dump: TextIO | None


async def _serve(
    config: Config,
    parts: Parts,
    task_status: trio.TaskStatus[Running],
    watched: _Watched,
    taking: Taking | None,
    *,
    listen_signals: bool,
) -> None:
    heir = None if taking is None else await Heir.meet(taking, config, parts)
    async with AsyncExitStack() as stack:
        # Received from the first moment on: a TERM during the start must stop engines as well. But as long as they are
        # another process's, it ends this one on the spot, and nothing has happened.
        receiver = trio.open_signal_receiver(*_SIGNALS) if listen_signals else None
        signals = stack.enter_context(receiver) if receiver is not None and heir is None else None
        stack.push_async_callback(parts.upstreams.aclose)
        if parts.gpus is not None:
            stack.push_async_callback(parts.gpus.aclose)
        host, port = split_listen(config.server.listen)
        server, room = config.server, descriptors()
        caps = Caps(min(server.max_connections or room, room), server.connections_per_address)
        listener = heir.listener(caps) if heir else await Listener.bind(host, port, parts.reception, caps)
        stack.callback(listener.close)
        parts.metrics.watch_connections(lambda: listener.connections)
        await stack.enter_async_context(parts.telling.journal.written())  # to the end of the last engine
        async with trio.open_nursery() as core:
            await core.start(parts.second_door.run_lifespan, name="second door")
            await core.start(parts.supervisor.run, heir and heir.succession, name="supervisor")
            core.start_soon(parts.prober.run, name="prober")
            if heir is not None:
                await heir.enter()
            _begin(parts, core)
            core.start_soon(listener.run, name="door")
            await core.start(parts.private.run, name="private door")
            if heir is not None:
                await heir.serving()
                core.start_soon(heir.follow, name="upgrade")
                signals = stack.enter_context(receiver) if receiver is not None else None
            pulse = trio.CancelScope()
            status = partial(_status, parts.fleet, lambda: listener.connections)
            core.start_soon(_beat, pulse, watched, status, name="heartbeat")
            estate = Estate(config, parts, listener, watched.manager, pulse.cancel)
            core.start_soon(parts.upgrades.run, estate, parts.supervisor.open_files, name="upgrades")
            _LOG.info("listening on %s:%d", listener.host, listener.port)
            parts.telling.journal.tell("server.started", __version__, f"Listening on {listener.host}:{listener.port}.")
            task_status.started(Running(listener.host, listener.port, parts.fleet))
            watched.manager.ready()
            core.start_soon(_collect, parts, name="garbage")
            core.start_soon(keep_in_large_pages, name="large pages")
            if signals is not None:
                await _until_the_end(parts, watched.manager, signals, core)
                await _stop(parts, listener, config.server.drain, signals, watched.manager)
                parts.second_door.abort()
                parts.reception.cut()
                parts.private.close()
                await parts.upgrades.bye()
                core.cancel_scope.cancel()
        _LOG.info("stopped")


def _begin(parts: Parts, core: trio.Nursery) -> None:
    """What needs nothing but to run."""
    core.start_soon(parts.recorder.run, name="usage")
    core.start_soon(parts.keeper.watch, name="keys")
    core.start_soon(parts.watch.run, name="watch")
    core.start_soon(parts.host.run, name="host")
    core.start_soon(parts.encryption.run, name="encryption")
    core.start_soon(parts.operating.live.run, name="live")
    core.start_soon(parts.console.run, name="console")
    core.start_soon(parts.telling.tally.run, name="tally")
    parts.telling.journal.begin()


async def _beat(pulse: trio.CancelScope, watched: _Watched, status: Callable[[], str]) -> None:
    with pulse:
        await beat(watched.manager, status, watched.dump)


async def _collect(parts: Parts) -> None:
    with seldom():  # takes a look at everything first, for which hardly anybody has to wait yet
        await collect(lambda: parts.readiness.flowing)


async def _until_the_end(parts: Parts, manager: Manager, signals: AsyncIterator[int], core: trio.Nursery) -> None:
    """Return when a signal says so, or when another process has taken over."""
    async with trio.open_nursery() as nursery:

        async def told() -> None:
            async for number in signals:
                if number != signal.SIGHUP:
                    parts.upgrades.abandon()
                    nursery.cancel_scope.cancel()
                elif parts.reloader is not None:
                    core.start_soon(_reload, parts.reloader, manager, name="reload")

        nursery.start_soon(told, name="signals")
        await parts.upgrades.given.wait()
        nursery.cancel_scope.cancel()


async def _reload(reloader: Reloader, manager: Manager) -> None:
    manager.reloading()
    await reloader.refresh()
    manager.ready()


def _status(fleet: FleetTable, connections: Callable[[], int]) -> str:
    """What the service manager shows about us."""
    rows = fleet.snapshot().replicas.values()
    ready = sum(row.state is ReplicaState.READY for row in rows)
    return f"{ready} of {len(rows)} model processes ready, {connections()} client connections"


def _first_mistake(group: BaseExceptionGroup[OperatorError]) -> OperatorError:
    inner = group.exceptions[0]
    return _first_mistake(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _stop(parts: Parts, listener: Listener, drain: float, signals: AsyncIterator[int], manager: Manager) -> None:
    """Drain; a second signal skips the wait for answers under way, a third one that for their error events.

    After an upgrade there was none yet, so the first one skips it.
    """
    waiting = trio.CancelScope()
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            async for number in signals:
                if number == signal.SIGHUP:
                    continue
                if waiting.cancel_called:
                    nursery.cancel_scope.cancel()
                waiting.cancel()

        nursery.start_soon(hurry, name="second signal")
        if parts.upgrades.given.is_set():
            nursery.start_soon(parts.upgrades.tell_busy, parts.supervisor, name="busy")
            nursery.start_soon(collect_orphans, set, _COLLECT, name="orphans")
            _LOG.info("answers under way may take %g s more; a signal skips the wait", drain)
            message = "The server has been replaced by another version and could not wait for the end of this answer."
        else:
            manager.stopping(drain + _CLOSING + _LAST_ENGINE)
            _LOG.info("stopping: streams may finish for %g s; a second signal skips the wait", drain)
            parts.gateway.draining = True
            parts.supervisor.drain()
            parts.telling.journal.tell("server.stopping", __version__, f"Answers may finish for {drain:g} s.")
            listener.stop_accepting()
            parts.reception.close_idle()
            message = "The server is going away and could not wait for the end of this answer."
        await _drain(parts, listener, drain, waiting, f"{message} Try again.")
        nursery.cancel_scope.cancel()


async def _drain(parts: Parts, listener: Listener, drain: float, waiting: trio.CancelScope, message: str) -> None:
    parts.operating.live.end()
    parts.telling.journal.end()
    await parts.second_door.close_idle()
    waiting.deadline = trio.current_time() + drain
    with waiting:
        await _connections_end(listener)
    parts.interrupt(GatewayError("draining", message, retry_after=5))
    with trio.move_on_after(_CLOSING):
        await _connections_end(listener)


async def _connections_end(listener: Listener) -> None:
    """Each connection closes after its current exchange, so the last one to end is the last answer sent."""
    while listener.connections:
        await trio.sleep(0.02)
