"""The console's pages that change something that lasts: models, keys, the configuration; and how clients connect."""

from collections.abc import Sequence

from appliance.console.configuring import ConfigPages
from appliance.console.connecting import ConnectPages
from appliance.console.keys import KeyPages
from appliance.console.models import ModelPages
from appliance.console.pages import Page
from appliance.fleet.table import FleetTable
from appliance.operating import Operating
from appliance.routing.catalogue import Catalogue


def editing_pages(operating: Operating, fleet: FleetTable, catalogue: Catalogue, url: str) -> tuple[Page, ...]:
    """The pages, in the order of their list; those that change the file only where there is one."""
    file = operating.file
    connect = ConnectPages(url, lambda: _askable(fleet, catalogue)).page()
    keys = KeyPages(operating.keys, operating.usage).page()
    if file is None:
        return keys, connect
    models = ModelPages(file.models, lambda: _targets(fleet)).page()
    return models, keys, connect, ConfigPages(file.config).page()


def _askable(fleet: FleetTable, catalogue: Catalogue) -> Sequence[str]:
    """The models that can be asked for, the default one first."""
    return sorted(catalogue.listed(fleet.snapshot()), key=lambda name: (name != catalogue.default, name))


def _targets(fleet: FleetTable) -> Sequence[str]:
    """What a model may stand for: runtimes, and what backends list."""
    now = fleet.snapshot()
    backends = [f"{name}/{card.id}" for name, row in now.backends.items() for card in row.models]
    return [*dict.fromkeys(row.runtime for row in now.replicas.values()), *backends]
