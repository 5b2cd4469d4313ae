"""A killed appliance, its model processes, and the next start: taken over, or removed, and nobody else touched."""

import time
from pathlib import Path

import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def killed(state: Path) -> tuple[Product, list[int]]:
    """A product that was killed, and the engines that it has left."""
    one = Product(state, runtime("m", "--grandchild"))
    one.start()
    one.ready("m")
    one.process.kill()
    one.process.wait()
    return one, one.engines()


def test_a_killed_appliance_leaves_its_engines_and_the_next_start_takes_them_over(tmp_path: Path) -> None:
    with product(tmp_path / "other", runtime("innocent")) as other:
        other.ready("innocent")
        first, orphans = killed(tmp_path / "mine")
        assert len(orphans) >= 2
        started = time.monotonic()
        first.start()
        first.ready("m")
        assert time.monotonic() - started < 15
        assert set(first.engines()) == set(orphans)
        first.said("taken over from an earlier run")
        assert first.post("/v1/chat/completions", CHAT).status_code == 200
        assert first.stop() == 0
        assert first.engines() == []
        assert other.engines()


def test_what_cannot_be_taken_over_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with product(tmp_path / "other", runtime("innocent")) as other:
        other.ready("innocent")
        first, orphans = killed(tmp_path / "mine")
        first.config.write_text(first.config.read_text().replace(', "--grandchild"', ""))
        first.start()
        first.ready("m")
        assert not set(orphans) & set(first.engines())
        first.said("its configuration has changed")
        assert other.engines()
        assert first.stop() == 0
        assert first.engines() == []
