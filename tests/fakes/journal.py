"""A journal in memory, whose clock stands still; its file would be where nobody can write."""

from pathlib import Path

from appliance.events.journal import Journal
from appliance.storage.writer import Keeping


def journal() -> Journal:
    """A fresh one."""
    return Journal(Path("/nowhere/events.db"), Keeping(86_400.0, 1000), lambda: 1_800_000_000.0)
