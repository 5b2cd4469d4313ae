"""Who may ask, and how much: the keys of the configuration, of the environment and of the store, put into effect
together.

A name of the configuration wins: a stored key of the same name opens nothing while it is there.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from appliance.access.keys import Credential, KeyRing
from appliance.config.schema import Config, Key
from appliance.config.secrets import has_stored_keys
from appliance.domain.secret import Secret
from appliance.keystore.file import KeyFile
from appliance.keystore.keeper import Keeper
from appliance.keystore.stored import Keys, credentials
from appliance.limits.ledger import Ledger, Spendings, limits_of
from appliance.observe.log import ExchangeRecord
from appliance.recording import spendings, spendings_now
from appliance.usage.recorder import Recorder
from appliance.usage.store import FILE

_LOG = logging.getLogger("appliance.keys")


class Roster:
    """Changes the ring and the ledger, which everybody else only asks.

    Args:
        config: in effect when the server starts.
        stored: keys of the store, then.
        environment: keys from the environment, which stay.
        ring: knows none of them yet.
        ledger: the same.
        spent: what is used of quotas, for those that are new.

    Attributes:
        told: of the stored keys before and after, whenever they change.
    """

    def __init__(
        self,
        config: Config,
        stored: Keys,
        environment: Sequence[Secret],
        ring: KeyRing,
        ledger: Ledger,
        spent: Callable[[], Awaitable[Spendings]],
    ) -> None:
        self._config = self._whole = config
        self._stored = stored
        self._environment = environment
        self._changed: Callable[[Config], None] = lambda _: None
        self.told: Callable[[Keys, Keys], None] = lambda _before, _after: None
        self._ring = ring
        self._ledger = ledger
        self.spent = spent

    def sections(self) -> Sequence[Key]:
        """The configuration's keys."""
        return self._config.keys

    def configured(self) -> set[str]:
        """Their names."""
        return {key.name for key in self._config.keys}

    def watch(self, changed: Callable[[Config], None]) -> None:
        """Tell this one now, and whenever they change, the configuration with the stored keys among its own."""
        self._changed = changed
        changed(self._whole)

    def configure(self, config: Config, spent: Spendings) -> None:
        """Another configuration is in effect. Waits for nothing, so that no request sees half of it."""
        self._config = config
        self._put(spent)

    async def stored_changed(self, stored: Keys) -> None:
        """Other keys are stored."""
        spent = await self.spent()
        before, self._stored = self._stored, stored
        self._put(spent)
        self.told(before, stored)

    def _put(self, spent: Spendings) -> None:
        taken = self.configured()
        stored = []
        for key in self._stored:
            if key.name in taken:
                _LOG.warning("the stored key %r opens nothing: the configuration has a key of this name", key.name)
            else:
                stored.append(key)
        sections = (*self._config.keys, *(key.section for key in stored))
        self._whole = msgspec.structs.replace(self._config, keys=sections)
        self._ring.change(self._config.keys, self._environment, credentials(tuple(stored)))
        self._ledger.change(limits_of(sections), limits_of(self._config.models), spent)
        self._changed(self._whole)


@dataclass(frozen=True, slots=True)
class Admission:
    """What decides who gets in.

    Attributes:
        open: no key is asked for.
    """

    ring: KeyRing
    ledger: Ledger
    roster: Roster
    keeper: Keeper
    open: bool


def admission_of(
    config: Config,
    api_keys: Sequence[Secret],
    recorder: Recorder[ExchangeRecord],
    date: Callable[[], float],
    own: Sequence[Credential] = (),
) -> Admission:
    """Everything of one server, with what is stored and what has been used read from its state directory.

    `own` are credentials that no configuration has and no reload ends.

    Raises:
        OperatorError: the stored keys cannot be read.
    """
    state_dir = Path(config.server.state_dir)
    usage, file = state_dir / FILE, KeyFile(state_dir)
    stored, keyless = file.read(), needs_no_key(config, api_keys)
    if keyless:
        _LOG.warning("no key is asked for: whoever reaches %s may use every model", config.server.listen)
    ring, ledger = KeyRing((), date=date, open=keyless, own=own), Ledger({}, date=date)
    roster = Roster(config, stored, api_keys, ring, ledger, partial(spendings_now, recorder, usage, date))
    roster.configure(config, spendings(usage, date()))
    keeper = Keeper(file, stored, config.server.key_prefix, date, roster.configured, roster.stored_changed)
    return Admission(ring, ledger, roster, keeper, keyless)


def needs_no_key(config: Config, api_keys: Sequence[Secret]) -> bool:
    """`check` has refused a server that is open by accident: without keys it listens on loopback only."""
    stored = has_stored_keys(config.server.state_dir)
    return config.server.auth == "open" or not (config.keys or api_keys or stored)
