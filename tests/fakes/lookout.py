"""A snapshot of a path with scripted model servers, for tests of who shows it."""

from dataclasses import replace

from appliance.domain.gpus import Gpu
from appliance.ops.snapshot import Clocks, Snapshot
from tests.fakes.path import Path


def lookout(path: Path, now: float = 100.0) -> Snapshot:
    """What is seen of it at a time."""
    gpu = Gpu(0, "GPU-1", "L40S", 48 * 2**30, 2**30, 47 * 2**30)
    return Snapshot(
        path.fleet,
        path.gateway.catalogue,
        Clocks(lambda: now, lambda: now, lambda: 1_800_000_000.25),
        path.accounts.under_way,
        path.metrics.exchanges.totals,
        lambda _: 2,
        lambda: [replace(gpu, utilization=50.0)],
        lambda: {"usage": {"recording": True}},
        path.outcomes.report,
    )
