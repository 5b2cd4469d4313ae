"""The console that the binary brings, in a real browser: its pages, its styles, its scripts, its feeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.chromium import PROGRAM, browser
from tests.fakes.product import Product, product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROGRAM, reason="needs Chromium (apt-get install chromium)"),
]
BINARY = Path(__file__).resolve().parents[2] / "dist" / "appliance.d" / "appliance"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Product]:
    slow = runtime("slow", "--load-seconds", "3", "--progress", "--style", "llama.cpp", extra='start = "on-demand"')
    with product(tmp_path / "box", ADMIN_TABLE + slow, program=(str(BINARY),)) as running:
        yield running


async def test_an_administrator_logs_in_and_sees_a_model_load_and_the_log_being_written(
    box: Product, tmp_path: Path
) -> None:
    async with browser(tmp_path) as tab:
        await tab.open(f"{box.url}/")
        await tab.type("#key", ADMIN)
        await tab.press("Enter")
        await tab.shows("Requests a second")
        await tab.shows("live")
        await tab.click('button[aria-label="Load slow"]')
        await tab.shows("loading")
        row = "[...document.querySelectorAll('tr')].find(row => row.innerText.startsWith('slow') && row.querySelector('button'))"
        await tab.until(f"{row}.innerText.includes('ready')", 60)

        await tab.click('a[href="/console/logs"]')
        await tab.shows("listening on")
        await tab.until("!document.querySelector('[data-beat]').hidden")
        box.post("/v1/chat/completions", {"model": "unheard-of", "messages": [{"role": "user", "content": "hi"}]})
        await tab.shows("error_code=model_not_found")
        assert tab.complaints == []
