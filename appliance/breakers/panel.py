"""The breakers of all targets, and what they mean for the choice among a model's targets. Pure."""

from collections.abc import Callable, Container, Iterable, Sequence
from math import ceil

from appliance.breakers.breaker import Breaker, State
from appliance.breakers.verdict import Verdict
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Target
from appliance.errors import GatewayError

_MOST = 1024  # targets remembered; the names of a provider's models come from clients


class Panel:
    """One for the whole process. A target has a breaker from its first failure on, until nothing speaks against it.

    What the supervisor says wins: a runtime without a ready replica is never left alone for what exchanges suffered
    there, because asking for it is how it becomes ready, or how a client hears what is wrong. With a new life of a
    replica its past is forgotten.

    Args:
        failures: in a row, that open a breaker; 0 never does.
        told: is told the name of a target and the new state of its breaker.

    Attributes:
        tripped: names of targets whose breakers are not closed; empty nearly always.
    """

    __slots__ = ("_breakers", "_failures", "_ready", "_told", "tripped")

    def __init__(self, failures: int, told: Callable[[str, State], None] = lambda _name, _state: None) -> None:
        self._failures = failures
        self._told = told
        self._breakers: dict[str, Breaker] = {}
        self._ready: dict[str, set[str]] = {}  # ready replicas by runtime
        self.tripped: set[str] = set()

    @property
    def empty(self) -> bool:
        """No target has failed lately: nothing that ends well matters."""
        return not self._breakers

    def order(self, model: str, targets: Sequence[Target], others: int, now: float) -> list[Target]:
        """The targets, those first that may be tried.

        Statistics alone never take away the last target of a model that has several.

        Args:
            model: public name.
            targets: worth trying otherwise, best first; not empty.
            others: how many more the model has, which are known not to be.
            now: seconds.

        Raises:
            GatewayError: `circuit_open`: it is the model's only target.
        """
        free = [target for target in targets if self.allows(target, now)]
        if not free and len(targets) + others == 1:
            raise self.refusal(model, targets[0], now)
        return free + [target for target in targets if target not in free]

    def allows(self, target: Target, now: float) -> bool:
        """Whether a request may be sent there now."""
        breaker = self._breakers.get(target.name)
        return breaker is None or breaker.allows(now) or self._down(target.owner)

    def refusal(self, model: str, target: Target, now: float) -> GatewayError:
        """What a request is told that may not be sent to a tripped target."""
        breaker = self._breakers[target.name]
        return GatewayError(
            "circuit_open",
            f"Provider circuit breaker open: the only target of model {model!r}, {target.name!r}, failed "
            f"{breaker.in_a_row} times in a row ({breaker.reason}). It is tried again every few seconds: so may "
            "you. If it goes on, the server's owner has to look.",
            retry_after=max(1, ceil(breaker.wait(now))),
            extras={"target": target.name},
        )

    def report(self, now: float) -> list[dict[str, object]]:
        """Every target that is left alone or being tried, why, and in how many seconds it may be tried next."""
        return [
            {
                "target": name,
                "state": breaker.state.name.lower(),
                "reason": breaker.reason,
                "failures": breaker.in_a_row,
                "next_try": round(breaker.wait(now), 1),
            }
            for name, breaker in self._breakers.items()
            if name in self.tripped
        ]

    def begin(self, target: str, now: float) -> None:
        """A request is sent to a tripped target."""
        breaker = self._breakers.get(target)
        if breaker is not None:
            before = breaker.state
            breaker.begin(now)
            self._changed(target, breaker, before)

    def send(self, target: Target, now: float) -> bool:
        """Whether a request that has waited since it was let through may still be sent to a target."""
        breaker = self._breakers.get(target.name)
        if breaker is None or self._down(target.owner):
            return True
        before = breaker.state
        may = breaker.send(now)
        self._changed(target.name, breaker, before)
        return may

    def ended(self, target: Target, verdict: Verdict, began: float, now: float, reason: str = "") -> None:
        """An exchange with a target has ended."""
        name = target.name
        breaker = self._breakers.get(name)
        if verdict is Verdict.GOOD and breaker is not None:
            before = breaker.state
            breaker.good(began, now)
            self._changed(name, breaker, before)
            if breaker.idle(now):
                del self._breakers[name]
        elif verdict is Verdict.BAD and not self._down(target.owner):
            breaker = breaker or self._new(name)
            before = breaker.state
            breaker.bad(began, now, reason)
            self._changed(name, breaker, before)

    def _new(self, name: str) -> Breaker:
        if len(self._breakers) >= _MOST:
            self.forget([next(iter(self._breakers))])
        breaker = self._breakers[name] = Breaker(self._failures)
        return breaker

    def _changed(self, name: str, breaker: Breaker, before: State) -> None:
        if breaker.state is not before:
            (self.tripped.discard if breaker.state is State.CLOSED else self.tripped.add)(name)
            self._told(name, breaker.state)

    def _down(self, owner: str) -> bool:
        """It is a runtime of ours, and none of its replicas is ready."""
        return not self._ready.get(owner, True)

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        if before is not None and before.state is after.state:
            return
        ready = self._ready.setdefault(after.runtime, set())
        if after.state is ReplicaState.READY:
            ready.add(after.replica)
        else:
            ready.discard(after.replica)
        if not ready or after.state is ReplicaState.READY:
            self.forget([after.runtime])

    def forget(self, targets: Iterable[str]) -> None:
        """Nothing speaks against these any more."""
        for name in targets:
            breaker = self._breakers.pop(name, None)
            if breaker is not None and breaker.state is not State.CLOSED:
                self.tripped.discard(name)
                self._told(name, State.CLOSED)

    def change(self, failures: int, owners: Container[str]) -> None:
        """A new configuration: how many failures open a breaker, and which runtimes and backends there are still."""
        self.forget([name for name in self._breakers if name.partition("/")[0] not in owners])
        self._failures = failures
        for breaker in self._breakers.values():
            breaker.failures = failures
