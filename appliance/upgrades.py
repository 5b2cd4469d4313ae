"""`appliance upgrade NEW` as an order: the other binary is tried out, started, and everything handed to it."""

import logging
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from appliance.domain.orders import Upgraded, UpgradeWanted
from appliance.reload import Reloader
from appliance.supervisor import passing
from appliance.supervisor.process import Process
from appliance.supervisor.supervisor import Supervisor
from appliance.takeover import program
from appliance.takeover.channel import Channel
from appliance.takeover.conversation import Conversation, Refused
from appliance.takeover.giving import Estate, hand_over
from appliance.takeover.messages import Busy, Bye

_LOG = logging.getLogger("appliance.upgrade")
_SELFTEST = 90.0  # seconds; its own limit is shorter
_BUSY_EVERY = 1.0  # seconds between two words about the exchanges that are left
_LAST_WORD = 2.0  # seconds for it to be sent


@dataclass(frozen=True, slots=True)
class Origin:
    """What this process was started with, for one that takes its place.

    Attributes:
        config: the whole path of the configuration file; None where there is none, and then there are no upgrades.
        environ: its environment.
    """

    config: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


class Upgrades:
    """Takes orders for upgrades and carries them out, one at a time.

    Args:
        origin: what another process has to be started with.
        reloader: is kept from reloading meanwhile.

    Attributes:
        given: set when another process is the server.
        conversation: with that one.
        former: the process whose place this one took, while it still has answers under way; it tells us of their limits
            and gives us its connections, which a third process would not hear of.
    """

    def __init__(self, origin: Origin, reloader: Reloader | None) -> None:
        self._config = origin.config
        self._environ = program.environment_of(origin.environ, frozen=bool(getattr(sys, "frozen", False)))
        self._reloader = reloader
        self._orders, self._asked = trio.open_memory_channel[tuple[UpgradeWanted, "_Answer"]](0)
        self._scope = trio.CancelScope()  # of the one under way
        self.given = trio.Event()
        self.conversation: Conversation | None = None
        self.former: int | None = None

    async def order(self, wanted: UpgradeWanted) -> Upgraded:
        """Return what became of it. It goes on when whoever asked for it leaves."""
        if self.former is not None:
            why = f"process {self.former}, whose place this one took, still has answers under way; order it again later"
            return Upgraded(ok=False, detail=why)
        answer = _Answer()
        try:
            self._orders.send_nowait((wanted, answer))
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return Upgraded(ok=False, detail="another upgrade is under way, or the appliance is about to stop")
        return await answer.wait()

    def abandon(self) -> None:
        """The appliance stops: what is under way is not carried out, and nothing more is begun."""
        self._orders.close()
        self._scope.cancel()

    async def run(self, estate: Estate, open_files: tuple[int, int] | None) -> None:
        """Carry out orders until cancelled; after one that succeeded there are no more."""
        async with trio.open_nursery() as nursery:
            async for wanted, answer in self._asked:
                self._scope = trio.CancelScope()
                with self._scope:
                    done = await self._carry_out(wanted, estate, open_files, nursery)
                    answer.give(done)
                    if done.ok:
                        self.given.set()
                        await trio.sleep_forever()  # with the reloader's lock
                answer.give(Upgraded(ok=False, detail="the appliance was told to stop meanwhile"))

    async def _carry_out(
        self, wanted: UpgradeWanted, estate: Estate, open_files: tuple[int, int] | None, nursery: trio.Nursery
    ) -> Upgraded:
        binary = wanted.binary
        if self._config is None or self._reloader is None:
            return Upgraded(ok=False, detail="this appliance was started without a configuration file")
        if why := program.unusable(binary) or await _differs(self._reloader):
            return _refused(binary, why)
        await self._reloader.one.acquire()
        try:
            _LOG.info("upgrade: %s tests itself", binary)
            if why := await program.try_out(binary, str(self._config), self._environ, _SELFTEST):
                return _refused(binary, why)
            argv = [binary, "serve", "--takeover", "--config", str(self._config)]
            ours, theirs = socket.socketpair()
            try:
                process = program.start(argv, self._environ, talk=theirs, open_files=open_files)
            except OSError as error:
                ours.close()
                return _refused(binary, f"it cannot be started: {error.strerror}")
            finally:
                theirs.close()
            return await self._hand_over(binary, estate, process, Channel(ours), wanted.patience, nursery)
        finally:
            if self.conversation is None:
                self._reloader.one.release()

    async def _hand_over(
        self,
        binary: str,
        estate: Estate,
        process: Process,
        channel: Channel,
        patience: float,
        nursery: trio.Nursery,
    ) -> Upgraded:
        conversation = Conversation("old", channel)
        nursery.start_soon(channel.run, name="upgrade")
        try:
            hello = await hand_over(estate, conversation, process, patience)
        except Refused as error:
            return _refused(binary, str(error))
        else:
            self.conversation = conversation
            process.release()
            _LOG.info("upgrade: %s (version %s, pid %d) is the server now", binary, hello.version, hello.pid)
            return Upgraded(ok=True, version=hello.version, pid=hello.pid)
        finally:
            if self.conversation is None:
                await program.end(process)
                channel.close()

    async def tell_busy(self, supervisor: Supervisor) -> None:
        """Tell the new process which exchanges are left here, until cancelled."""
        before: dict[str, int] = {}
        while self.conversation is not None:
            now = passing.busy(supervisor)
            if now != before:
                self.conversation.say(Busy(now))
                before = now
            await trio.sleep(_BUSY_EVERY)

    async def bye(self) -> None:
        """There are none left."""
        if self.conversation is not None:
            self.conversation.say(Bye())
            with trio.move_on_after(_LAST_WORD):
                await self.conversation.channel.flush()


class _Answer:
    """What became of an order, for whoever waits for it. The first one counts."""

    def __init__(self) -> None:
        self._there = trio.Event()
        self._answer = Upgraded(ok=False)

    def give(self, answer: Upgraded) -> None:
        if not self._there.is_set():
            self._answer = answer
            self._there.set()

    async def wait(self) -> Upgraded:
        await self._there.wait()
        return self._answer


def _refused(binary: str, why: str) -> Upgraded:
    _LOG.warning("upgrade: %s is refused, and this process goes on: %s", binary, why)
    return Upgraded(ok=False, detail=why)


async def _differs(reloader: Reloader) -> str:
    """Why the configuration file does not do: the new process must mean the same model processes by it."""
    told = await reloader.reload(dry_run=True)
    if not told.ok:
        return f"the configuration file has mistakes: {'; '.join(told.problems)}"
    changed = [change.runtime for change in told.runtimes]
    if changed:
        return f"the configuration file is not in effect yet ({', '.join(changed)}): run `appliance reload` first"
    return ""
