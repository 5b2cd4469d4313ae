"""The model list in a shape that both the OpenAI and the Anthropic SDK can read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec


def model_entry(name: str, card_fields: Mapping[str, Any], owner: str, created: int) -> dict[str, Any]:
    """One model: what its engine says about it, under what we say.

    Args:
        name: public name.
        card_fields: the engine's own entry; its `created` and `display_name` are kept when they are sound.
        owner: `owned_by`.
        created: Unix seconds, for an engine that gives none.
    """
    born, born_text = _created(card_fields.get("created"), created)
    shown = card_fields.get("display_name")
    return dict(card_fields) | {
        "id": name,
        "object": "model",
        "created": born,
        "owned_by": owner,
        "type": "model",
        "display_name": shown if isinstance(shown, str) and shown else name,
        "created_at": born_text,
        "lifecycle": "active",
    }


def model_list(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """The body of `GET /v1/models`: everything on one page."""
    return msgspec.json.encode(
        {
            "object": "list",
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }
    )


def _created(said: object, otherwise: int) -> tuple[int, str]:
    """Unix seconds and the same as RFC 3339; the engine's word counts if it is a date at all."""
    if isinstance(said, int) and not isinstance(said, bool) and 0 < said < _END_OF_TIME:
        return said, _rfc3339(said)
    return otherwise, _rfc3339(otherwise)


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_END_OF_TIME = 253402300800  # 10000-01-01, where four-digit years end
