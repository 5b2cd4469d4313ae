"""An administrator in a real browser: what one does at the console whatever is tried there, and with which server."""

import pytest

from tests.fakes.chromium import PROGRAM, Tab
from tests.fakes.product import Product, runtime
from tests.ops.test_orders import ADMIN

IN_A_BROWSER = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROGRAM, reason="needs Chromium (apt-get install chromium)"),
]
SLOW = runtime("slow", "--load-seconds", "3", "--progress", "--style", "llama.cpp", extra='start = "on-demand"')
_ROW = (
    "[...document.querySelectorAll('tr')].find(row => row.innerText.startsWith('slow') && row.querySelector('button'))"
)


async def log_in(tab: Tab, box: Product) -> None:
    """With the key `ADMIN` of a server that has `ADMIN_TABLE`."""
    await tab.open(f"{box.url}/")
    await tab.type("#key", ADMIN)
    await tab.press("Enter")
    await tab.shows("Requests a second")
    await tab.shows("live")


async def load_slow(tab: Tab) -> None:
    """The model `SLOW` loads, and the page shows it without being asked."""
    await tab.click('button[aria-label="Load slow"]')
    await tab.shows("loading")
    await tab.shows("Load slow: under way.")
    await tab.until(f"{_ROW}.innerText.includes('ready')", 60)


async def read_the_log(tab: Tab, box: Product) -> None:
    """The log of the appliance, as it is written."""
    await tab.click('a[href="/console/logs"]')
    await tab.shows("listening on")
    await tab.until("!document.querySelector('[data-beat]').hidden")
    box.post("/v1/chat/completions", {"model": "unheard-of", "messages": [{"role": "user", "content": "hi"}]})
    await tab.shows("error_code=model_not_found")
