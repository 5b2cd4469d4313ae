"""The console's pages that change something, as a person uses them in Chromium: with its scripts and without."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.administrator import IN_A_BROWSER, log_in
from tests.fakes.chromium import Tab, browser
from tests.fakes.product import Product, product, runtime
from tests.ops.test_orders import ADMIN_TABLE

pytestmark = IN_A_BROWSER
TABLES = (
    ADMIN_TABLE
    + runtime("m", "--tokens", "5", extra='env = { A = "env-canary" }')
    + '# The clever one.\n[[models]]\nname = "clever"  # as asked for\ntargets = ["m"]\n'
)
SHOTS = os.environ.get("CONSOLE_SHOTS", "")  # a folder for pictures of every page


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), TABLES) as running:
        running.ready("clever")
        yield running


@pytest.fixture
async def tab(box: Product, tmp_path: Path) -> AsyncIterator[Tab]:
    """A browser in which an administrator is logged in."""
    async with browser(tmp_path) as one:
        await log_in(one, box)
        yield one
        assert [words for words in one.complaints if "422" not in words] == []  # a form that is shown again


async def shot(tab: Tab, name: str) -> None:
    if SHOTS:
        for dark in (False, True):
            for width in (1280, 390):
                await tab.look(width=width, height=900, dark=dark)
                await tab.picture(Path(SHOTS) / f"{name}-{'dark' if dark else 'light'}-{width}.png", whole=True)
        await tab.look()


async def narrow(tab: Tab) -> None:
    """At 390 pixels nothing but tables and texts scrolls sideways."""
    await tab.look(width=390, height=800)
    assert await tab.js("document.documentElement.scrollWidth") <= 390
    await tab.look()


def chat(box: Product, model: str, key: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{box.url}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code


async def test_a_key_is_created_used_and_revoked(box: Product, tab: Tab) -> None:
    await tab.open(f"{box.url}/console/keys?create")
    await narrow(tab)
    await tab.type("#f-name", "visitor")
    await tab.type("#f-limit_requests_per_minute", "lots")
    await tab.click("#form button.main")
    await tab.shows("Write digits, or leave it empty for no limit.")
    assert await tab.js("document.querySelector('#f-name').value") == "visitor"
    await tab.type("#f-limit_requests_per_minute", "30")
    await shot(tab, "keys-form")
    await tab.click("#form button.main")
    await tab.shows("It is shown this once")
    key = await tab.js("document.querySelector('#made pre').textContent")
    await shot(tab, "keys-made")
    assert chat(box, "clever", key) == 200
    await tab.open(f"{box.url}/console/keys")
    assert key not in await tab.js("document.documentElement.outerHTML")
    await tab.shows("clever")
    await shot(tab, "keys")
    await tab.click("[aria-label='Revoke visitor']")
    await tab.shows("it cannot be brought back")
    assert chat(box, "clever", key) == 200
    await shot(tab, "keys-revoke")
    await tab.click("#ask button.main")
    await tab.shows("The key visitor is revoked")
    assert chat(box, "clever", key) == 401


async def test_a_model_is_added_asked_switched_off_and_removed(box: Product, tab: Tab) -> None:
    before = box.config.read_text()
    await tab.open(f"{box.url}/console/models?add")
    await narrow(tab)
    await tab.type("#f-name", "org/new")
    await tab.type("#f-targets", "nowhere")
    await tab.click("#form button.main")
    await tab.shows('there is no runtime "nowhere"')
    assert await tab.js("document.querySelector('#f-targets').getAttribute('aria-invalid')") == "true"
    await shot(tab, "models-wrong")
    await tab.type("#f-targets", "m")
    await tab.click("#form button.main")
    await tab.shows("What changes in the file")
    assert box.config.read_text() == before
    await shot(tab, "models-look")
    await tab.click("#proposal button.main")
    await tab.shows("org/new is there.")
    assert 'env = { A = "env-canary" }' in box.config.read_text()
    assert chat(box, "org/new", "sk-test-canary-7f3a9c") == 200
    await shot(tab, "models")
    await tab.click("[aria-label='Switch off org/new']")
    await tab.shows("+active = false")
    await tab.click("#proposal button.main")
    await tab.shows("org/new is switched off.")
    assert chat(box, "org/new", "sk-test-canary-7f3a9c") == 404
    await tab.click("[aria-label='Remove org/new']")
    await tab.click("#proposal button.main")
    await tab.shows("org/new has no entry any more.")
    assert box.config.read_text() == before


async def test_a_broken_configuration_is_refused_and_its_line_shown(box: Product, tab: Tab) -> None:
    before = box.config.read_text()
    await tab.open(f"{box.url}/console/config")
    await narrow(tab)
    assert "env-canary" not in await tab.js("document.documentElement.outerHTML")
    await tab.js("document.querySelector('#f-text').value += '[[models]]\\nname = 3\\ntargets = [\"m\"]\\n'")
    await tab.click("#text button.main")
    await tab.shows("The text below cannot be used")
    line = before.count("\n") + 2
    await tab.shows(f"{box.config.name}:{line}:1")
    await shot(tab, "config-wrong")
    box.config.write_text(before + "[server\n")
    await tab.open(f"{box.url}/console/config")
    await tab.shows("What was in effect stays.")
    await tab.click("[action='/console/config/reload'] button")
    await tab.shows("Nothing has changed: the file is refused.")
    await tab.shows(f"{box.config.name}:{before.count(chr(10)) + 1}:")
    assert chat(box, "clever", "sk-test-canary-7f3a9c") == 200
    box.config.write_text(before)
    await tab.open(f"{box.url}/console/config")
    await tab.shows("The file is in effect as it is.")
    await shot(tab, "config")


async def test_the_whole_text_is_changed_without_scripts(box: Product, tab: Tab) -> None:
    before = box.config.read_text()
    await tab.open(f"{box.url}/console/config")
    await tab.js(
        "document.querySelector('#f-text').value = document.querySelector('#f-text').value.replace('clever', 'bright')"
    )
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    await tab.click("#text button.main")
    await tab.shows("What the text below does")
    await shot(tab, "config-look")
    await tab.click("#proposal button.main")
    await tab.shows("The configuration is in effect")
    assert box.config.read_text() == before.replace("clever", "bright", 1)  # in a remark
    box.config.write_text(before)
    await tab.click("[action='/console/config/reload'] button")
    await tab.shows("The configuration is in effect")


async def test_what_to_paste(box: Product, tab: Tab) -> None:
    await tab.open(f"{box.url}/console/connect?client=codex&model=clever")
    await narrow(tab)
    await tab.shows(f'base_url = "{box.url}/v1"')
    await tab.shows('model = "clever"')
    await shot(tab, "connect")
