"""What a new configuration means for the processes that run. Pure."""

from collections.abc import Sequence

import msgspec

from appliance.config.schema import Runtime
from appliance.domain.gpus import gib
from appliance.domain.orders import Change

# Settings that are looked at while a process runs; every other one is part of how it was started.
LIVE = frozenset(
    {
        "start",
        "stop_grace",
        "load_stall",
        "load_limit",
        "idle_stop",
        "exclusive",
        "priority",
        "pinned",
        "preload",
        "canary",
        "stall_limit",
        "dead_limit",
    }
)


def changes(old: Sequence[Runtime], new: Sequence[Runtime]) -> list[Change]:
    """What becomes of each runtime, those that go first: they make room for those that come."""
    before = {runtime.name: runtime for runtime in old}
    after = {runtime.name: runtime for runtime in new}
    gone = [Change(name, "remove", (), _words("ends", before[name])) for name in before if name not in after]
    kept = [_change(before[name], after[name]) for name in before if name in after]
    come = [Change(name, "add", (), _words("comes", after[name])) for name in after if name not in before]
    return [*gone, *kept, *come]


def _change(before: Runtime, after: Runtime) -> Change:
    names = [field.name for field in msgspec.structs.fields(Runtime)]
    differ = tuple(name for name in names if getattr(before, name) != getattr(after, name))
    if not differ:
        return Change(after.name, "keep")
    if set(differ) <= LIVE:
        return Change(after.name, "update", differ, "takes effect without a new process")
    return Change(after.name, "restart", differ, _words("ends when its requests have ended, and starts again", after))


def _words(what: str, runtime: Runtime) -> str:
    size = f"; it needs {gib(runtime.memory)} of GPU memory" if runtime.memory else ""
    return f"{what}{size}"
