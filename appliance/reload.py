"""A new configuration for a running appliance: read and checked whole, then put into effect between two requests.

Nothing changes when anything is wrong with it. What runs and did not change is not touched; exchanges under way end as
they began. A runtime that goes or changes gets no new work and ends when its last exchange has ended.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from appliance.config.diff import difference, digest_of, in_effect
from appliance.config.file import Fresh
from appliance.config.schema import Backend, Config
from appliance.domain.orders import Reloaded
from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.errors import OperatorError
from appliance.gateway.pipeline import Gateway
from appliance.guardrails.prefixes import PatternError
from appliance.guardrails.rules import Guardrails
from appliance.health.prober import Prober
from appliance.observe.log import ExchangeRecord
from appliance.observe.metrics import Metrics
from appliance.recording import keeping_of
from appliance.roster import Roster, needs_no_key
from appliance.routing.clouds import Clouds
from appliance.supervisor.orders import Operator
from appliance.telling import Telling
from appliance.usage.recorder import Recorder

_LOG = logging.getLogger("appliance.reload")


@dataclass(frozen=True, slots=True)
class Live:
    """What takes a new configuration."""

    roster: Roster
    gateway: Gateway
    prober: Prober
    operator: Operator
    metrics: Metrics
    recorder: Recorder[ExchangeRecord]
    answer_to: Callable[[Sequence[str]], None]  # host names
    telling: Telling


class Reloader:
    """Loads configurations, one at a time.

    Args:
        config: in effect now.
        read: the configuration of a text, or of the file where that is None, and its credentials, by name; raises
            OperatorError.
        api_keys: keys from the environment, which stay.
        date: seconds since 1970.

    Attributes:
        config: in effect.
        one: whoever holds it keeps new configurations out.
    """

    def __init__(
        self,
        config: Config,
        live: Live,
        read: Callable[[str | None], Fresh],
        api_keys: Sequence[Secret],
        date: Callable[[], float],
    ) -> None:
        self.config = config
        self._live = live
        self._read = read
        self._api_keys = api_keys
        self._date = date
        self.one = trio.Lock()
        live.metrics.config_loaded(ok=True, at=date(), digest=digest_of(config))

    async def reload(self, dry_run: bool = False, text: str | None = None) -> Reloaded:  # noqa: FBT001, FBT002 - also a callback
        """Read the file, or a text in its place, and put it into effect, or say why not.

        Args:
            dry_run: only say what would change.
            text: of a configuration.
        """
        async with self.one:
            try:
                config, credentials = await trio.to_thread.run_sync(self._read, text)
                _refuse(self.config, config, self._api_keys)
                guardrails = await trio.to_thread.run_sync(guardrails_of, config)  # compiling takes a while
            except OperatorError as error:
                if not dry_run:
                    self._live.metrics.config_loaded(ok=False, at=self._date())
                    _LOG.warning("the new configuration is refused, the old one stays: %s", error)
                refused = Reloaded(ok=False, problems=tuple(str(error).splitlines()))
                return refused if dry_run else self._known(refused)
            told = self._told(config)
            if not dry_run:
                await self._apply(config, credentials, guardrails)
                _LOG.info("a new configuration is in effect: %s", told.words())
                self._known(told)
            return told

    def _known(self, told: Reloaded) -> Reloaded:
        self._live.telling.reloaded(told)
        return told

    async def refresh(self) -> None:
        """`reload` for whoever is not interested in what becomes of it."""
        await self.reload()

    def _told(self, config: Config) -> Reloaded:
        found = difference(self.config, config)
        runtimes = tuple(change for change in self._live.operator.preview(config.runtimes) if change.action != "keep")
        return Reloaded(
            ok=True,
            keys=found.keys,
            models=found.models,
            backends=found.backends,
            providers=found.providers,
            guardrails=found.guardrails,
            runtimes=runtimes,
            restart=found.restart,
            settings=found.settings,
        )

    async def _apply(self, config: Config, credentials: dict[str, Secret], guardrails: Guardrails) -> None:
        live = self._live
        backends = endpoints_of(config.backends, credentials)
        spent = await live.roster.spent()
        # No checkpoint from here to the last line: no request sees half of it.
        clouds = Clouds.of(config.providers, config.keys, credentials)
        live.gateway.change(config.models, config.runtimes, backends, clouds, guardrails, most_connections(config))
        live.roster.configure(config, spent)
        live.prober.change(backends)
        live.recorder.keeping = keeping_of(config)
        live.telling.configure(config)
        live.answer_to(config.server.names)
        self.config = in_effect(self.config, config)
        live.metrics.config_loaded(ok=True, at=self._date(), digest=digest_of(self.config))
        await live.operator.apply(config.runtimes)


def endpoints_of(backends: Sequence[Backend], credentials: dict[str, Secret]) -> list[tuple[Backend, Endpoint]]:
    """Every backend with where it is and what it asks for."""
    return [(item, Endpoint(Address.from_url(item.url), credentials.get(item.name))) for item in backends]


def guardrails_of(config: Config) -> Guardrails:
    """The guardrails of a configuration, compiled.

    Raises:
        OperatorError: one of them cannot be used; `check` says which and where.
    """
    try:
        return Guardrails(config.guardrails, config.models)
    except PatternError as error:
        raise OperatorError(f"a pattern of a guardrail cannot be used: {error}") from error


def most_connections(config: Config) -> dict[str, int]:
    """How many connections there may be to each backend and provider, by its name."""
    most = {row.name: row.max_connections for row in config.backends}
    return most | {row.name: row.max_connections for row in config.providers}


def _refuse(old: Config, new: Config, api_keys: Sequence[Secret]) -> None:
    if needs_no_key(old, api_keys) != needs_no_key(new, api_keys):
        raise OperatorError("whether keys are asked for can change with a restart only: restart the appliance")
