from pathlib import Path

import pytest

from appliance.api.endpoints import PREFIXES
from appliance.api.routes import Route
from appliance.config.file import ConfigFile
from appliance.config.schema import Backend, Config, Server
from appliance.domain.calls import Operation
from appliance.domain.secret import Secret
from appliance.observe.log import log_exchange
from appliance.pages.described import OPERATIONS, OTHERS
from appliance.pages.site import documents
from appliance.parts import build


async def table_of(tmp_path: Path) -> list[Route]:
    """All routes of a real server."""
    backends = (Backend(name="b", engine="openai", url="http://127.0.0.1:1"),)
    config = Config(server=Server(state_dir=str(tmp_path)), backends=backends)
    parts = build(config, [Secret("k-123456")], {}, log_exchange, ConfigFile(tmp_path / "a.toml", {}))
    await parts.upstreams.aclose()
    return list(parts.table)


async def test_every_route_is_in_words_and_every_word_is_about_a_route(tmp_path: Path) -> None:
    first, second = PREFIXES
    paths = {operation.path for operation in Operation} | {path for one in Operation for path in one.aliases}
    named = set()
    for route in await table_of(tmp_path):
        template = first + route.template.removeprefix(second) if route.template.startswith(second) else route.template
        if template not in paths and template != "/docs/":
            named.add((route.method, template))
    assert named == set(OTHERS)


def test_every_operation_is_in_words() -> None:
    assert set(OPERATIONS) == set(Operation)


@pytest.mark.parametrize("words", OTHERS.values())
def test_the_document_that_has_more_exists(words: object) -> None:
    page = getattr(words, "page")  # noqa: B009 - typed as an object above
    assert not page or page in documents()
