"""The console in a real browser: what an administrator does, and whether everybody can."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.fakes.administrator import IN_A_BROWSER, SLOW, load_slow, log_in, read_the_log
from tests.fakes.chromium import Tab, browser
from tests.fakes.product import KEY, Product, product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

pytestmark = IN_A_BROWSER
LONG = "Qwen3-Coder-480B-A35B-Instruct-FP8-KV-cache-q8-context-262144-trial"
AXE = Path(__file__).parent / "axe"
RULES = "{resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    endless = runtime("endless", "--tokens", "100000", "--token-delay", "0.02", extra="slots = 1")
    m = runtime("m", "--tokens", "20", "--token-delay", "0.01", "--says", "Good day to everybody.")
    ill = runtime("ill", "--fail", "architecture")
    long = runtime(LONG, extra='start = "on-demand"')
    with product(tmp_path_factory.mktemp("box"), ADMIN_TABLE + m + SLOW + endless + ill + long) as running:
        running.ready("m", "endless")
        yield running


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser(tmp_path) as tab:
        yield tab
        assert tab.complaints == []  # no error of a script, nothing that the policy had to refuse


def stream(box: Product) -> str:
    body = {"model": "endless", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", f"{box.url}/v1/chat/completions", json=body, headers=headers, timeout=120) as reply:
        return reply.read().decode()


async def test_an_administrator_watches_talks_reads_and_intervenes(box: Product, tab: Tab) -> None:
    await log_in(tab, box)
    await load_slow(tab)

    # A chat, with its figures.
    await tab.click('a[href="/console/playground"]')
    await tab.until("document.querySelector('#model').value = 'm'")
    await tab.type("#prompt", "Who are you?")
    await tab.click("button.main")
    await tab.shows("Good day to everybody.")
    await tab.until("/First token \\d+ ms/.test(document.querySelector('[data-facts]').innerText)")
    await tab.until("/Tokens a second [\\d.]+/.test(document.querySelector('[data-facts]').innerText)")
    assert "data: [DONE]" in await tab.until("document.querySelector('[data-raw]').textContent")
    assert "$APPLIANCE_KEY" in await tab.js("document.querySelector('[data-code=curl]').textContent")
    assert ADMIN not in await tab.js("document.documentElement.outerHTML")

    await read_the_log(tab, box)

    # A request that would go on for half an hour is ended.
    await tab.click('a[href="/console/requests"]')
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(stream, box)
        await tab.shows("streaming")
        await tab.click('button[aria-label^="Cancel"]')
        await tab.shows("The request is ended.")
        assert '"code":"cancelled"' in asked.result(20).replace(" ", "")
    await tab.shows("cancelled")
    await tab.shows("Nothing is under way.")

    await tab.type("#q", "nothing has this")
    await tab.until("[...document.querySelectorAll('[data-row]')].every(row => row.hidden)")
    await tab.click(".side form[action='/console/logout'] button")
    await tab.until("location.pathname === '/console/login'")


async def test_a_link_logs_in_once_and_the_keyboard_suffices(box: Product, tab: Tab) -> None:
    link = box.ops("POST", "/console/link").json()
    await tab.open(f"{box.url}{link['path']}")
    await tab.shows("one-time link")
    assert link["code"] not in await tab.js("location.href + document.documentElement.outerHTML")

    await tab.until("document.readyState === 'complete'")
    await tab.js("window.moves = 0; document.addEventListener('focusin', () => { window.moves += 1 }); 0")
    passed = []
    for number in range(1, 40):
        await tab.press("Tab")
        await tab.until(f"window.moves >= {number}")  # a key is heard before it has done what it does
        passed.append(await tab.js("document.activeElement.getAttribute('href')"))
        if passed[-1] == "/console/health":
            break
    assert passed[0] == "#main"
    assert passed[1:4] == ["/", "/", "/console/requests"]
    assert await tab.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await tab.press("Enter")
    await tab.until("location.pathname === '/console/health'")

    await tab.click(".themes button[value=dark]")
    await tab.until("getComputedStyle(document.body).backgroundColor === 'rgb(18, 21, 26)'")
    await tab.open(f"{box.url}/")
    assert await tab.js("document.documentElement.dataset.theme") == "dark"


async def test_what_needs_attention_is_first_is_counted_in_the_title_and_can_be_acted_on_there(
    box: Product, tab: Tab
) -> None:
    await log_in(tab, box)
    await tab.shows("Needs attention 1")
    await tab.until("document.title.startsWith('(1) Now')")
    await tab.shows("This engine cannot run this model file")
    assert await tab.js("document.querySelector('main section h2').innerText") == "Needs attention 1"
    await tab.click('.alerts a[aria-label="Log of ill"]')
    await tab.shows("unknown model architecture")
    await tab.open(f"{box.url}/")
    await tab.click('.alerts button[aria-label="Load ill"]')
    # Under way, or what has become of it already.
    await tab.until("/^(Load ill: |ill is quarantined)/.test(document.querySelector('.notice')?.innerText)")


async def test_logs_are_searched_and_a_name_of_70_characters_leaves_the_page_as_wide_as_it_is(
    box: Product, tab: Tab
) -> None:
    await log_in(tab, box)
    await tab.look(width=390)
    for page in ("/", "/console/requests", "/console/playground", "/console/models", "/console/health"):
        await tab.open(f"{box.url}{page}")
        assert await tab.js("document.documentElement.scrollWidth") <= 390, page
    shown = "[...document.querySelectorAll('[data-log] .line')].filter(line => !line.hidden).length"
    await tab.open(f"{box.url}/console/logs")
    await tab.until(f"{shown} > 5")
    await tab.type("[data-sift]", "listening on")
    await tab.until(f"{shown} === 1")


async def test_a_page_whose_session_has_ended_asks_to_log_in(box: Product, tab: Tab) -> None:
    await log_in(tab, box)
    await tab.js(
        "fetch('/console/logout', {method: 'POST', body: new URLSearchParams({token: document.body.dataset.token})}), 0"
    )
    await tab.until("location.pathname === '/console/login'")
    tab.complaints.clear()  # the refusals by which the page has learned it


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(AXE / name, folder)
    subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=200,
    )
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def test_everybody_can_use_every_page_in_both_themes_and_on_a_phone(box: Product, tab: Tab, axe: str) -> None:
    await log_in(tab, box)
    found: list[str] = []
    pages = await tab.js("[...document.querySelectorAll('nav a')].map(one => one.getAttribute('href'))")
    assert {"/", "/console/requests", "/console/playground", "/console/logs", "/console/health", "/docs"} <= set(pages)
    for page in ["/console/login", "/console/logs?of=m", *(page for page in pages if page != "/docs")]:
        await tab.open(f"{box.url}{page}")
        await tab.js(f"{axe}; 0")
        for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
            await tab.look(width=width, dark=dark)
            assert await tab.js("document.documentElement.scrollWidth") <= width, f"{page} is wider than {width}"
            said = await tab.js(f"axe.run(document, {RULES}).then(found => JSON.stringify(found.violations))")
            found += [
                f"{page} {width} {'dark' if dark else 'light'}: {one['id']} {one['nodes'][0]['html']}"
                for one in json.loads(said)
                if one["impact"] in {"serious", "critical"}
            ]
    assert found == []
