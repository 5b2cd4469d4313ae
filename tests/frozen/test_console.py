"""The console that the binary brings, in a real browser: its pages, its styles, its scripts, its feeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.administrator import IN_A_BROWSER, SLOW, load_slow, log_in, read_the_log
from tests.fakes.chromium import browser
from tests.fakes.product import Product, product
from tests.ops.test_orders import ADMIN_TABLE

pytestmark = IN_A_BROWSER
BINARY = Path(__file__).resolve().parents[2] / "dist" / "appliance.d" / "appliance"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Product]:
    with product(tmp_path / "box", ADMIN_TABLE + SLOW, program=(str(BINARY),)) as running:
        yield running


async def test_an_administrator_logs_in_and_sees_a_model_load_and_the_log_being_written(
    box: Product, tmp_path: Path
) -> None:
    async with browser(tmp_path) as tab:
        await log_in(tab, box)
        await load_slow(tab)
        await read_the_log(tab, box)
        assert tab.complaints == []
