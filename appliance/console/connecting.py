"""The page Connect: what to paste so that a client uses this server. No key is shown: clients read a variable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.console.pages import Asked, Page, Values
from appliance.recipes import KEY, RECIPES


@dataclass(frozen=True, slots=True)
class ConnectPages:
    """What the page needs.

    Attributes:
        url: where clients reach the server, where the browser does not say.
        models: that can be asked for, the one to propose first.
    """

    url: str
    models: Callable[[], Sequence[str]]

    def page(self) -> Page:
        """The page."""
        return Page("connect", "Connect", self._values)

    async def _values(self, asked: Asked) -> Values:
        models = self.models()
        client = asked.query.get("client", "")
        client = client if client in RECIPES else next(iter(RECIPES))
        model = asked.query.get("model", "") or next(iter(models), "MODEL")
        root = self._root(asked)
        return {
            "clients": [(name, recipe.title) for name, recipe in RECIPES.items()],
            "client": client,
            "title": RECIPES[client].title,
            "models": models,
            "model": model,
            "root": root,
            "variable": KEY,
            "parts": RECIPES[client].parts(root, model),
            "encrypted": root.startswith("https:"),
        }

    def _root(self, asked: Asked) -> str:
        """The address that this very browser reaches us by, which was checked to be one of ours."""
        host = asked.request.header("host")
        return f"{self.url.partition('://')[0]}://{host}" if host else self.url
