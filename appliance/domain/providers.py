"""The cloud APIs that can be asked with the caller's own key (BYOK), or with the owner's.

Where they are comes from the configuration, never from a request. Sources: each provider's API reference as of
November 2026; Gemini is asked through its OpenAI-compatible endpoint, which shares everything but a few quirks with
the chat API that the rest of the product speaks.
"""

from dataclasses import dataclass, replace

from appliance.domain.calls import Dialect
from appliance.domain.secret import Secret
from appliance.domain.targets import Address


@dataclass(frozen=True, slots=True)
class CloudApi:
    """One provider.

    Attributes:
        engine: its key in `domain.engines.ENGINES`.
        url: where it is, unless the configuration says otherwise.
        root: what its paths have where ours have `/v1`.
        dialect: what it speaks.
    """

    engine: str
    url: str
    root: str = "/v1"
    dialect: Dialect = Dialect.OPENAI

    def address(self, url: str, proxy: str = "") -> Address:
        """Where it is: the given URL, or the official one. A trailing root makes no difference.

        Args:
            url: as configured; empty for the official one.
            proxy: URL of the proxy that leads there; empty for the direct way.

        Raises:
            ValueError: the text says what is wrong with the URL.
        """
        return replace(Address.from_url((url or self.url).rstrip("/").removesuffix(self.root)), proxy=proxy)

    def path(self, path: str) -> str:
        """Where it serves what OpenAI and Anthropic serve at this path."""
        return self.root + path.removeprefix("/v1")


PROVIDERS: dict[str, CloudApi] = {
    "openai": CloudApi("openai-api", "https://api.openai.com"),
    "anthropic": CloudApi("anthropic-api", "https://api.anthropic.com", dialect=Dialect.MESSAGES),
    "gemini": CloudApi("gemini-api", "https://generativelanguage.googleapis.com", root="/v1beta/openai"),
}


@dataclass(frozen=True, slots=True)
class Byok:
    """What a caller's headers say about a provider.

    Attributes:
        provider: a key of PROVIDERS.
        key: the caller's own key; None where one is kept for the caller.
    """

    provider: str
    key: Secret | None = None
