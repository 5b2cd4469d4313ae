"""Which models exist: the names of the config, the runtimes' own names, and what backends list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.config.schema import Backend, Model, Runtime
from appliance.domain.calls import KINDS, Call, Operation
from appliance.domain.providers import Byok
from appliance.domain.targets import Endpoint, Target
from appliance.fleet.table import Fleet
from appliance.routing.clouds import Clouds
from appliance.wire.overrides import Overrides

_NO_CLOUDS = Clouds()


@dataclass(frozen=True, slots=True)
class PublicModel:
    """A name that clients can ask for.

    Attributes:
        name: the public name.
        targets: in order of preference.
        operations: what it can be asked to do; None when its kind is unknown.
        owner: `owned_by` of the model list.
        card: what the engine itself says about the model.
        overrides: what its owner changes in requests for it; None where that is nothing.
        by_prefix: requests that begin alike go to the same replica.
    """

    name: str
    targets: tuple[Target, ...]
    operations: frozenset[Operation] | None
    owner: str
    card: Mapping[str, Any] = field(default_factory=dict)
    overrides: Overrides | None = None
    by_prefix: bool = False


def _operations(kinds: Sequence[str]) -> frozenset[Operation] | None:
    return frozenset().union(*(KINDS[kind] for kind in kinds)) if kinds else None


def _overrides(model: Model) -> Overrides | None:
    plain = not (model.defaults or model.forced or model.stripped) and model.system == model.developer == "keep"
    return None if plain else Overrides(model.defaults, model.forced, model.stripped, model.system, model.developer)


class Catalogue:
    """The models of one configuration. Backends' own lists come with each snapshot.

    Attributes:
        default: the name that stands for no name; empty when there is none.
    """

    def __init__(
        self,
        models: Sequence[Model],
        runtimes: Sequence[Runtime],
        backends: Sequence[tuple[Backend, Endpoint]],
        clouds: Clouds = _NO_CLOUDS,
    ) -> None:
        self.change(models, runtimes, backends, clouds)

    def change(
        self,
        models: Sequence[Model],
        runtimes: Sequence[Runtime],
        backends: Sequence[tuple[Backend, Endpoint]],
        clouds: Clouds = _NO_CLOUDS,
    ) -> None:
        """These are the models from now on."""
        self._clouds = clouds
        self._runtimes = {runtime.name: runtime for runtime in runtimes}
        self._backends = {backend.name: (backend, endpoint) for backend, endpoint in backends}
        self._hidden = {model.name for model in models if not model.active}
        self._configured = {model.name: self._public(model) for model in models if model.active}
        self.default = next((model.name for model in models if model.default), "")
        aliased = {target for model in models for target in model.targets}
        for runtime in runtimes:
            if runtime.name not in aliased and runtime.name not in self._configured | dict.fromkeys(self._hidden):
                self._configured[runtime.name] = PublicModel(
                    runtime.name, (self._runtime_target(runtime),), _operations(runtime.kinds), "appliance"
                )

    def _public(self, model: Model) -> PublicModel:
        targets = tuple(self._target(name) for name in model.targets)
        kinds: Sequence[str] = (model.kind,) if model.kind else ()
        if not kinds and all(target.kind == "runtime" for target in targets):
            kinds = self._runtimes[targets[0].owner].kinds
        several = any(self._runtimes[one.owner].replicas > 1 for one in targets if one.kind == "runtime")
        by_prefix = model.balance == "prefix" and several
        overrides = _overrides(model)
        return PublicModel(
            model.name, targets, _operations(kinds), "appliance", overrides=overrides, by_prefix=by_prefix
        )

    def _target(self, name: str) -> Target:
        if runtime := self._runtimes.get(name):
            return self._runtime_target(runtime)
        owner, _, model = name.partition("/")
        if cloud := self._clouds.allowed.get(owner):
            return cloud.target(model)
        return self._backend_target(owner, model)

    @staticmethod
    def _runtime_target(runtime: Runtime) -> Target:
        # We tell the engines their name; another program knows itself by what it was told to load.
        known_as = (runtime.model or runtime.name) if runtime.engine == "command" else runtime.name
        return Target(runtime.name, "runtime", runtime.name, runtime.engine, known_as)

    def _backend_target(self, owner: str, model: str) -> Target:
        backend, endpoint = self._backends[owner]
        return Target(f"{owner}/{model}", "backend", owner, backend.engine, model, endpoint)

    def listed(self, fleet: Fleet) -> dict[str, PublicModel]:
        """Every model that exists now, by public name. A backend's model whose id is taken is `backend/id`."""
        models = dict(self._configured)
        for name in self._backends:
            row = fleet.backends.get(name)
            for card in row.models if row else ():
                taken = card.id in models or card.id in self._hidden
                public = f"{name}/{card.id}" if taken else card.id
                target = self._backend_target(name, card.id)
                models.setdefault(public, PublicModel(public, (target,), None, name, card.fields))
        return models

    def resolve(self, name: str, fleet: Fleet) -> PublicModel | None:
        """The model of that name, or None."""
        return self._configured.get(name) or self.listed(fleet).get(name)

    def byok(self, call: Call, caller: str, byok: Byok) -> tuple[PublicModel, list[Target]]:
        """What a request with a key of the caller's own is for, and counts as.

        Raises:
            GatewayError: as `Clouds.byok`.
        """
        target = self._clouds.byok(call, caller, byok)
        return PublicModel(f"byok/{target.name}", (target,), None, target.name), [target]

    def targets_by_model(self) -> dict[str, tuple[Target, ...]]:
        """The configured models and their targets, for the readiness report."""
        return {name: model.targets for name, model in self._configured.items()}
