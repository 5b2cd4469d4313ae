"""Who tells the journal what: everything that sees something happen, connected to the one stream of events."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from appliance.breakers.breaker import State
from appliance.config.schema import Config
from appliance.domain.gpus import Gpu
from appliance.domain.orders import Reloaded
from appliance.domain.status import ReplicaStatus
from appliance.events.journal import Journal
from appliance.events.store import FILE
from appliance.events.tally import Tally
from appliance.events.witnesses import Fleet, Gpus, Stored, key_changes
from appliance.fleet.table import FleetTable
from appliance.keystore.stored import Keys
from appliance.observe.log import ExchangeRecord
from appliance.roster import Roster
from appliance.storage.writer import Keeping
from appliance.usage.recorder import Recorder

_CIRCUITS = {State.OPEN: "circuit.opened", State.HALF_OPEN: "circuit.tried", State.CLOSED: "circuit.closed"}
_WORDS = {
    State.OPEN: "It failed too often and is left alone for a while.",
    State.HALF_OPEN: "One request finds out whether it works again.",
    State.CLOSED: "It works again.",
}


class Telling:
    """What others call when they see something. None of it waits, or fails.

    Args:
        config: in effect when the server starts.
        fleet: watched from now on.

    Attributes:
        journal: where all of it goes.
        tally: runs while the server does.
        gpus: sees the GPUs.
    """

    def __init__(self, config: Config, fleet: FleetTable) -> None:
        date = partial(time.clock_gettime, time.CLOCK_REALTIME)
        self.journal = Journal(Path(config.server.state_dir) / FILE, keeping_of(config), date)
        self.tally = Tally(self.journal.tell)
        self.gpus = Gpus(self.journal.tell)
        witness = Fleet(self.journal.tell)
        fleet.watch_replicas(witness.replica_changed)
        fleet.watch_backends(witness.backend_seen)
        fleet.watch_drops(witness.dropped)
        self.journal.watch(partial(self.recording, "events"))

    def listen(self, recorder: Recorder[ExchangeRecord], roster: Roster) -> None:
        """Tell what happens to the file of usage and to stored keys."""
        recorder.watch = partial(self.recording, "usage")
        roster.told = self.keys_changed

    def configure(self, config: Config) -> None:
        """Another configuration is in effect."""
        self.journal.keep(keeping_of(config))

    def also_gpus(self, seen: Callable[[Sequence[Gpu], int], None]) -> Callable[[Sequence[Gpu], int], None]:
        """As the other who sees the GPUs, and this one too."""

        def both(gpus: Sequence[Gpu], timeouts: int) -> None:
            seen(gpus, timeouts)
            self.gpus.seen(gpus)

        return both

    def made_room(self, going: ReplicaStatus, coming: str) -> None:
        """A replica goes because another one needs its room."""
        words = f"{going.replica} makes room for {coming}."
        self.journal.tell("swap.begun", going.replica, words, runtime=going.runtime, coming=coming)

    def circuit_changed(self, target: str, state: State) -> None:
        """A breaker is in another state."""
        self.journal.tell(_CIRCUITS[state], target, _WORDS[state])

    def reloaded(self, told: Reloaded) -> None:
        """A configuration was read again, and is in effect or refused."""
        if told.ok:
            self.journal.tell("config.loaded", "configuration", f"In effect: {told.words()}.")
        else:
            words = "\n".join(told.problems)
            self.journal.tell("config.refused", "configuration", words, problems=len(told.problems))

    def keys_changed(self, before: Keys, after: Keys) -> None:
        """Other keys are stored, whoever changed them."""
        for kind, subject, words in key_changes(_seen(before), _seen(after)):
            self.journal.tell(kind, subject, words)

    def recording(self, what: str, why: str) -> None:
        """A file cannot be written, and why; or with "" it can be again."""
        if why:
            self.journal.tell("recording.failed", what, f"It waits in memory: {why}.")
        else:
            self.journal.tell("recording.resumed", what, "It is being written again.")

    def account(
        self,
        log: Callable[[ExchangeRecord], None],
        show: Callable[[ExchangeRecord], None],
        take: Callable[[ExchangeRecord], None],
    ) -> Callable[[ExchangeRecord], None]:
        """What becomes of the record of each exchange.

        Args:
            log: writes its line.
            show: remembers it for whoever looks on.
            take: writes its row.
        """

        def account(record: ExchangeRecord) -> None:
            log(record)
            show(record)
            if record.target:  # what was refused before it had one used nothing
                take(record)
            if record.error_code or record.guardrails:
                self.tally.saw(record.key, record.error_code, record.guardrails)

        return account


def keeping_of(config: Config) -> Keeping:
    """How long events are kept."""
    return Keeping(config.events.keep, config.events.max_count)


def _seen(keys: Keys) -> Stored:
    return {key.name: (key, key.revoked is not None) for key in keys}
