"""The page Playground: who can be talked to, and how."""

from collections.abc import Iterable, Mapping
from typing import Any

State = Mapping[str, Any]


def values(state: State, chats: Iterable[str], wanted: str, default: str) -> dict[str, Any]:
    """All of it.

    Args:
        state: an `ops.snapshot`.
        chats: names of all models that chat, those of backends too.
        wanted: which one is asked for; "" for none in particular.
        default: which one answers requests that name none; "" for none.
    """
    known = {row["name"]: row["state"] for row in state["models"]}
    healthy = "ready"  # what a backend lists is there while the backend is
    serving = sorted(name for name in chats if known.get(name, healthy) == "ready")
    others = sorted((name, known[name]) for name in chats if known.get(name, healthy) != "ready")
    preferred = [name for name in (wanted, default) if name in serving]
    return {"models": serving, "others": others, "chosen": [*preferred, *serving, ""][0]}
