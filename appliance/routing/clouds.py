"""Which cloud providers may be asked, and with whose key: the caller's own, one kept for the caller, or the owner's.

The owner's key is for targets of `[[models]]` only; nobody else's request is ever paid with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from appliance.config.schema import Key, Provider
from appliance.domain.calls import Call
from appliance.domain.engines import ENGINES
from appliance.domain.providers import PROVIDERS, Byok
from appliance.domain.secret import Secret
from appliance.domain.targets import Endpoint, Target
from appliance.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Cloud:
    """A provider that the configuration allows.

    Attributes:
        name: of the provider.
        endpoint: where it is; the same for everybody, and without a key.
        key: the owner's.
    """

    name: str
    endpoint: Endpoint
    key: Secret | None = None

    @property
    def engine(self) -> str:
        """Its key in `domain.engines.ENGINES`."""
        return PROVIDERS[self.name].engine

    def target(self, model: str) -> Target:
        """A model that the owner pays for."""
        return Target(f"{self.name}/{model}", "provider", self.name, self.engine, model, self.endpoint, self.key)


@dataclass(frozen=True, slots=True)
class Clouds:
    """The providers of one configuration.

    Attributes:
        allowed: by name.
        kept: the callers' own keys that are kept for them, by the name of their key here and the provider's.
    """

    allowed: Mapping[str, Cloud] = field(default_factory=dict)
    kept: Mapping[tuple[str, str], Secret] = field(default_factory=dict)

    @classmethod
    def of(cls, providers: Sequence[Provider], keys: Sequence[Key], credentials: Mapping[str, Secret]) -> Self:
        """From the configuration; `credentials` as `config.secrets.credentials` names them."""
        allowed: dict[str, Cloud] = {
            one.name: Cloud(
                one.name,
                Endpoint(PROVIDERS[one.name].address(one.url, one.proxy), shared=True),
                credentials.get(one.name),
            )
            for one in providers
        }
        kept = {
            (key.name, provider): credentials[f"{key.name}/{provider}"]
            for key in keys
            for provider in key.provider_keys
            if f"{key.name}/{provider}" in credentials
        }
        return cls(allowed, kept)

    def byok(self, call: Call, caller: str, byok: Byok) -> Target:
        """The one target of a request with a key of the caller's own.

        Its name does not hold the provider's name of the model: that is the client's own word, and no label.

        Raises:
            GatewayError: `invalid_byok_provider`, `missing_byok_key`, `missing_required_parameter` or `unsupported`.
        """
        cloud = self.allowed.get(byok.provider)
        if cloud is None:
            raise GatewayError(
                "invalid_byok_provider",
                f"This server may not ask {byok.provider}. Its owner can allow that with a [[providers]] entry.",
            )
        if call.operation not in ENGINES[cloud.engine].operations:
            raise GatewayError(
                "unsupported",
                f"The provider {byok.provider} does not offer {call.operation} here. Choose another provider or route.",
            )
        if not call.model:
            message = f"'model' is required: no model of {byok.provider} is the default one."
            raise GatewayError("missing_required_parameter", message, param="model")
        key = byok.key or self.kept.get((caller, byok.provider))
        if key is None:
            raise GatewayError("missing_byok_key", f"Send your own key for {byok.provider} as `x-byok-api-key`.")
        return Target(cloud.name, "provider", cloud.name, cloud.engine, call.model, cloud.endpoint, key, callers=True)
