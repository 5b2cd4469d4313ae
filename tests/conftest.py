"""For every test: Hypothesis asserts no speed, and after the whole suite nothing of ours is left behind."""

import gc
import logging
import os
import resource
import time
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.leftovers import leftovers

# The gate tries the same examples every time, so that a change is judged by the change. HYPOTHESIS_PROFILE=search looks
# for new ones.
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

_OPEN_FILES = 20_000  # of a test with a thousand clients, whatever a user's shell begins with (1,024 on Debian)
_LAST_PROCESSES = 30  # seconds that what is about to end may take on a busy machine


def pytest_configure() -> None:
    """Crowds of clients are sockets of the test's own process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing is collected while source is read for a report: a finalizer's traceback is read for as well, and in Python
    3.11 (gh-106905) a parser that runs inside itself ends the whole run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every state directory of this session is looked at, when all tests and their fixtures have ended."""
    base = tmp_path_factory.getbasetemp()
    yield
    patience = time.monotonic() + _LAST_PROCESSES
    while (left := leftovers(base)) and time.monotonic() < patience:
        time.sleep(0.2)
    assert not left, "\n".join(["left behind:", *left])


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Logging is as it was before, after a test that configures it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
