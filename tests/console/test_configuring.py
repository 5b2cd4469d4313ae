from pathlib import Path

from appliance.console.configuring import ConfigPages, sections
from appliance.console.pages import Page
from appliance.ops.config import ConfigRoutes
from appliance.ops.gate import Gate
from tests.fakes.consoles import Desk, hidden, text
from tests.fakes.editing import HASH, TEXT, editor
from tests.fakes.journal import journal


async def desk(tmp_path: Path) -> tuple[Desk, Path]:
    subject, _, path = editor(tmp_path)
    here = Desk(page_of(ConfigRoutes(Gate(None, journal()), subject)))
    await here.log_in()
    return here, path


def page_of(routes: ConfigRoutes) -> Page:
    return ConfigPages(routes).page()


async def test_the_file_is_shown_without_secrets_and_with_its_defaults(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    page = text(await here.ask("GET", "/console/config"))
    assert HASH not in page
    assert "***1***" in page
    assert "connect_timeout" in page
    assert str(path) in page


async def test_a_text_is_shown_as_a_difference_and_then_written(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    before = path.read_text()
    masked = before.replace(HASH, "***1***").replace("\n", "\r\n")  # as browsers send it
    looked = await here.order("/console/config/check", text=masked + "# more\r\n")
    assert "+# more" in text(looked)
    assert path.read_text() == before
    etag = hidden(looked, "etag")
    assert (await here.order("/console/config/write", text=masked + "# more\r\n", etag=etag)).status == 303
    assert path.read_text() == before + "# more\n"
    late = await here.order("/console/config/write", text=masked, etag=etag)
    assert (late.status, "has changed since it was read" in text(late)) == (412, True)
    assert "# more" not in masked


async def test_a_broken_text_is_refused_with_its_line_and_stays_in_the_form(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    etag = hidden(await here.ask("GET", "/console/config"), "etag")
    for action in ("check", "write"):
        reply = await here.order(f"/console/config/{action}", text="[server]\r\nlisten = 3\r\n", etag=etag)
        assert reply.status == 422
        assert f"{path}:2:1" in text(reply)
        assert "listen = 3" in text(reply)
    assert path.read_text() == TEXT.replace("EDIT", "all")


async def test_a_reload_says_what_became_of_it(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    assert (await here.order("/console/config/reload")).status == 303
    assert "The configuration is in effect" in text(await here.ask("GET", "/console/config"))
    path.write_text(TEXT.replace("EDIT", "all") + "# REFUSED\n")
    await here.order("/console/config/reload")
    page = text(await here.ask("GET", "/console/config"))
    assert "Nothing has changed: the file is refused." in page
    assert "What was in effect stays." in page


async def test_a_file_that_is_no_toml_is_not_shown(tmp_path: Path) -> None:
    here, path = await desk(tmp_path)
    path.write_text(f'hash = "{HASH}\n')
    page = text(await here.ask("GET", "/console/config"))
    assert HASH not in page
    assert f"{path}:1:" in page
    assert "it is not shown" in page


def test_settings_in_words() -> None:
    found = sections(
        {"server": {"http2": False, "drain": 30.0, "names": ["a", "b"]}, "keys": [{"name": "k", "limits": None}]}
    )
    assert found == [
        ("[server]", [("http2", "false"), ("drain", "30"), ("names", "a, b")]),
        ("[[keys]] k", []),
    ]
