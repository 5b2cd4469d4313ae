"""The page over a real file and a real catalogue, as a browser without scripts has it."""

from pathlib import Path
from typing import Any

from appliance.config.file import ConfigFile
from appliance.console.models import ModelPages
from appliance.domain.targets import Address, Endpoint
from appliance.fleet.table import FleetTable
from appliance.ops.gate import Gate
from appliance.ops.models import ModelRoutes
from appliance.routing.catalogue import Catalogue
from tests.fakes.consoles import Desk, hidden, text
from tests.fakes.editing import TEXT, editor
from tests.fakes.journal import journal


async def desk(tmp_path: Path, edit: str = "models", more: str = "") -> tuple[Desk, Path]:
    subject, _, path = editor(tmp_path, edit, more)
    config = ConfigFile(path, {}).fresh()[0]
    endpoint = Endpoint(Address.from_url("http://127.0.0.1:1"))
    catalogue = Catalogue(config.models, config.runtimes, [(config.backends[0], endpoint)])
    here = Desk(
        ModelPages(ModelRoutes(Gate(None, journal()), subject, catalogue, FleetTable()), lambda: ["b/x"]).page()
    )
    await here.log_in()
    return here, path


async def test_what_there_is_and_a_form_to_change_it(tmp_path: Path) -> None:
    here, _ = await desk(tmp_path)
    page = text(await here.ask("GET", "/console/models?edit=m"))
    assert "Change m" in page
    assert ">b/x</textarea>" in page.replace("\n", "")
    assert "Add a model" in page
    assert "Remove m" in page


async def test_every_order_is_shown_before_it_is_written(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    looked = await here.order("/console/models/look", what="add", name="new", targets="b/y\r\nb/z", active="on")
    assert "+name = &#34;new&#34;" in text(looked)
    assert path.read_text() == TEXT.replace("EDIT", "models")
    members: dict[str, Any] = {
        "what": "add",
        "name": "new",
        "targets": "b/y\r\nb/z",
        "active": "on",
        "etag": hidden(looked, "etag"),
    }
    done = await here.order("/console/models/write", **members)
    assert done.status == 303
    assert path.read_text().endswith('[[models]]\nname = "new"\ntargets = ["b/y", "b/z"]\n')
    assert "new is there." in text(await here.ask("GET", "/console/models"))
    late = await here.order("/console/models/write", **(members | {"name": "late"}))
    assert (late.status, "has changed since it was read" in text(late)) == (412, True)
    for what, word in (("off", "active = false"), ("on", ""), ("remove", "")):
        looked = await here.order("/console/models/look", what=what, name="m")
        await here.order("/console/models/write", what=what, name="m", etag=hidden(looked, "etag"))
        assert ("active = false" in path.read_text()) is bool(word)
    assert 'name = "m"' not in path.read_text()


async def test_a_mistake_stands_beside_its_field_and_what_was_typed_stays(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    mistakes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"targets": "gone/x"}, "there is no backend"),
        ({"targets": ""}, "Name at least one target."),
        ({"targets": "b/x", "limit_concurrent": "lots"}, "Write digits"),
        ({"targets": "b/x", "defaults": "a b"}, "one field a line"),
    )
    for form, words in mistakes:
        reply = await here.order("/console/models/look", what="add", name="typed", **form)
        assert reply.status == 422
        page = text(reply)
        assert words in page
        assert 'aria-invalid="true"' in page
        assert 'value="typed"' in page
        assert "Write it" not in page
    assert path.read_text() == TEXT.replace("EDIT", "models")
    nameless = await here.order("/console/models/look", what="add", name=" ")
    assert nameless.status == 303


async def test_a_server_that_is_not_to_be_changed_offers_nothing(tmp_path: Path) -> None:
    here, _ = await desk(tmp_path, "off")
    page = text(await here.ask("GET", "/console/models"))
    assert "Remove" not in page
    assert "on the machine itself" in page


async def test_a_secret_is_masked_in_the_form_and_saved_unchanged_it_is_as_it_was(tmp_path: Path) -> None:
    forced = '[models.forced]  # by us\napi_key = "canary-1"\nseed = 1\n'
    here, path = await desk(tmp_path, more=forced)
    form = await here.ask("GET", "/console/models?edit=m")
    assert "api_key = &#34;***&#34;" in text(form)
    members: dict[str, Any] = {"name": "m", "what": "set", "targets": "b/x", "active": "on"}
    same = await here.order("/console/models/look", **members, forced='api_key = "***"\r\nseed = 1')
    changed = await here.order("/console/models/look", **members, forced='api_key = "***"\r\nseed = 2')
    assert "+seed = 2" in text(changed)
    assert "+seed" not in text(same)
    members |= {"forced": 'api_key = "***"\r\nseed = 2', "etag": hidden(changed, "etag")}
    assert (await here.order("/console/models/write", **members)).status == 303
    assert path.read_text().endswith(forced.replace("seed = 1", "seed = 2"))
    nowhere = await here.order("/console/models/look", what="add", name="n", targets="b/x", forced='api_key = "***"')
    assert "stands for no value that is there" in text(nowhere)
    assert "canary" not in text(form) + text(same) + text(changed) + text(nowhere)
