"""The breakers of all targets, and what they mean for the choice among a model's targets. Pure."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from appliance.breakers.breaker import Breaker, State
from appliance.breakers.verdict import Verdict
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint, Lease, Target
from appliance.errors import GatewayError

_MOST = 1024  # targets remembered; the names of a provider's models come from clients
NOTICED = 2.0  # seconds in which a supervisor notices that a process has ended, a busy machine's included


@dataclass(frozen=True, slots=True)
class _Said:
    """What an exchange said about a target, on its way to the breaker.

    Attributes:
        replica: which one broke off, if one did.
        at: when it ended, seconds.
    """

    target: Target
    verdict: Verdict
    began: float
    at: float
    reason: str
    replica: str


class Panel:
    """One for the whole process. A target has a breaker from its first failure on, until nothing speaks against it.

    What the supervisor says wins: a runtime without a ready replica is never left alone for what exchanges suffered
    there, because asking for it is how it becomes ready, or how a client hears what is wrong. With a new life of a
    replica its past is forgotten.

    The connections that a crash breaks are often seen before the crash is. So what broke off at a replica counts after
    two seconds, with all that was said of the target since, and not at all where the replica has ended by then.

    Args:
        failures: in a row, that open a breaker; 0 never does.
        told: is told the name of a target and the new state of its breaker.

    Attributes:
        tripped: names of targets whose breakers are not closed; empty nearly always.
        unsure: what is not counted yet, by the name of the target; empty nearly always.
        opens: is told the name of a target whose breaker opens.
    """

    __slots__ = ("_breakers", "_failures", "_ready", "_runtimes", "_told", "opens", "tripped", "unsure")

    def __init__(self, failures: int, told: Callable[[str, State], None] = lambda _name, _state: None) -> None:
        self._failures = failures
        self._told = told
        self._breakers: dict[str, Breaker] = {}
        self._ready: dict[str, dict[str, Endpoint | None]] = {}  # ready replicas by runtime
        self._runtimes: dict[str, str] = {}  # by replica
        self.tripped: set[str] = set()
        self.unsure: dict[str, deque[_Said]] = {}
        self.opens: Callable[[str], None] = lambda _name: None

    @property
    def empty(self) -> bool:
        """No target has failed lately: nothing that ends well matters."""
        return not (self._breakers or self.unsure)

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
        self._count_ripe(now)
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

    def ended(
        self,
        target: Target,
        verdict: Verdict,
        began: float,
        now: float,
        reason: str = "",
        *,
        lease: Lease | None = None,
        broke: bool = False,
    ) -> None:
        """An exchange with a target has ended.

        Args:
            target: where it was.
            verdict: what that says about it.
            began: when it was sent there, seconds.
            now: seconds.
            reason: of a bad one, in words.
            lease: the replica that it used, where it used one.
            broke: it broke off, as it does when the process at the other end has ended.
        """
        if verdict is Verdict.NOTHING:
            return
        if verdict is Verdict.BAD and (self._down(target.owner) or (lease is not None and self._over(target, lease))):
            return
        broken = lease.replica if lease is not None and broke and verdict is Verdict.BAD else ""
        said = _Said(target, verdict, began, now, reason, broken)
        if broken or target.name in self.unsure:
            self.unsure.setdefault(target.name, deque()).append(said)
        else:
            self._count(said)
        self._count_ripe(now)

    def _over(self, target: Target, lease: Lease) -> bool:
        """The life of the replica that was used has ended."""
        ready = self._ready.get(target.owner)
        return ready is not None and (lease.replica not in ready or ready[lease.replica] != lease.endpoint)

    def _count_ripe(self, now: float) -> None:
        for name, waiting in list(self.unsure.items()):
            while waiting and now - waiting[0].at >= NOTICED:
                self._count(waiting.popleft())
            if not waiting:
                self.unsure.pop(name, None)

    def _count(self, said: _Said) -> None:
        name = said.target.name
        breaker = self._breakers.get(name)
        if said.verdict is Verdict.GOOD and breaker is not None:
            before = breaker.state
            breaker.good(said.began, said.at)
            self._changed(name, breaker, before)
            if breaker.idle(said.at):
                del self._breakers[name]
        elif said.verdict is Verdict.BAD:
            breaker = breaker or self._new(name)
            before = breaker.state
            breaker.bad(said.began, said.at, said.reason)
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
            if breaker.state is State.OPEN:
                self.opens(name)

    def _down(self, owner: str) -> bool:
        """It is a runtime of ours, and none of its replicas is ready."""
        return not self._ready.get(owner, True)

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        if before is not None and before.state is after.state:
            return
        self._runtimes[after.replica] = after.runtime
        ready = self._ready.setdefault(after.runtime, {})
        served = after.replica in ready
        if after.state is ReplicaState.READY:
            ready[after.replica] = after.endpoint
        else:
            ready.pop(after.replica, None)
            self._explained(after)
        crashed = served and after.state is ReplicaState.BACKOFF
        if not ready or crashed or after.state is ReplicaState.READY:
            self._forget_breaker(after.runtime)

    def replica_dropped(self, replica: str) -> None:
        """There is no such replica any more; a watcher of the fleet table. A backend may have its name next."""
        runtime = self._runtimes.pop(replica, None)
        if runtime is not None and runtime not in self._runtimes.values():
            del self._ready[runtime]

    def _explained(self, row: ReplicaStatus) -> None:
        """It serves no more, so what broke off there says nothing about the others."""
        waiting = self.unsure.pop(row.runtime, None)
        if waiting is not None and (left := deque(said for said in waiting if said.replica != row.replica)):
            self.unsure[row.runtime] = left

    def forget(self, targets: Iterable[str]) -> None:
        """Nothing speaks against these any more."""
        for name in targets:
            self.unsure.pop(name, None)
            self._forget_breaker(name)

    def _forget_breaker(self, name: str) -> None:
        breaker = self._breakers.pop(name, None)
        if breaker is not None and breaker.state is not State.CLOSED:
            self.tripped.discard(name)
            self._told(name, State.CLOSED)

    def change(self, failures: int, owners: Container[str]) -> None:
        """A new configuration: how many failures open a breaker, and which runtimes and backends there are still."""
        known = [*self._breakers, *self.unsure]
        self.forget([name for name in known if name.partition("/")[0] not in owners])
        self._failures = failures
        for breaker in self._breakers.values():
            breaker.failures = failures
