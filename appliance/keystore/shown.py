"""Keys as they are listed: everything but what opens something. Pure."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from appliance.config.schema import Key, Limits
from appliance.keystore.stored import StoredKey


def stored_key(key: StoredKey, now: float) -> dict[str, Any]:
    """A stored key at a time (seconds since 1970)."""
    return {
        "name": key.name,
        "source": "stored",
        "state": key.state(now),
        "start": key.start,
        **_settings(key.section),
        "created": _date(key.created),
        "revoked": _date(key.revoked),
        "old_works_until": _date(max((old.until for old in key.former if old.until > now), default=None)),
    }


def configured_key(key: Key, now: float) -> dict[str, Any]:
    """A key of the configuration."""
    ended = key.expires is not None and key.expires <= now
    return {
        "name": key.name,
        "source": "configuration",
        "state": "expired" if ended else "active",
        "start": "",
        **_settings(key),
        "created": None,
        "revoked": None,
        "old_works_until": None,
    }


def _settings(key: Key) -> dict[str, Any]:
    return {
        "scopes": list(key.scopes),
        "models": list(key.models),
        "limits": _limits(key.limits),
        "tags": list(key.tags),
        "local_only": key.local_only,
        "weight": key.weight,
        "priority": key.priority,
        "expires": _date(key.expires),
    }


def _limits(limits: Limits | None) -> dict[str, int]:
    given = {} if limits is None else msgspec.structs.asdict(limits)
    return {name: value for name, value in given.items() if value is not None}


def _date(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def toml_of(key: Key) -> str:
    """The section that says the same in a configuration file."""
    facts = _settings(key)
    rows = ["[[keys]]", f'name = "{key.name}"', f'hash = "{key.hash}"']
    rows += [
        f"{name} = [{', '.join(map(_quoted, facts[name]))}]" for name in ("scopes", "models", "tags") if facts[name]
    ]
    if facts["limits"]:
        rows.append("limits = { " + ", ".join(f"{name} = {value}" for name, value in facts["limits"].items()) + " }")
    rows += [f"expires = {facts['expires']}"] if facts["expires"] else []
    rows += ["local_only = true"] if key.local_only else []
    rows += [f"weight = {key.weight}"] if key.weight != 1 else []
    rows += [f"priority = {key.priority}"] if key.priority else []
    return "\n".join(rows)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()  # what JSON escapes, TOML escapes alike
