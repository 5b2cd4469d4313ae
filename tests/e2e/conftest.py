"""What several files of end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.fakes.house import house
from tests.fakes.product import Product


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product with every model and key that the users' documents name."""
    with house(tmp_path_factory.mktemp("documents")) as running:
        yield running
