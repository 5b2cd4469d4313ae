"""After the whole suite: no process with a mark of ours, no socket and no record is left behind."""

from collections.abc import Iterator

import pytest

from tests.fakes.leftovers import leftovers


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every state directory of this session is looked at, when all tests and their fixtures have ended."""
    base = tmp_path_factory.getbasetemp()
    yield
    left = leftovers(base)
    assert not left, "\n".join(["left behind:", *left])
