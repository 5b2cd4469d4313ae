"""Keys and the sums of their usage, as rows. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.usage.report import Sum
from appliance.usage.wanted import figures

_TONES = {"active": "good", "expired": "busy", "revoked": "bad"}
_FEW = 8  # bars are told apart down to an eighth of a percent


def rows(keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each key of `GET /ops/v1/keys`."""
    return [
        {
            "name": key["name"],
            "state": key["state"],
            "tone": _TONES[key["state"]],
            "start": f"{key['start']}…" if key["start"] else "",
            "scopes": ", ".join(key["scopes"]) + (" (local only)" if key["local_only"] else ""),
            "models": ", ".join(key["models"]),
            "limits": ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in key["limits"].items()),
            "expires": (key["expires"] or "never").removesuffix("T00:00:00Z"),
            "old": key["old_works_until"] or "",
            "tags": ", ".join(key["tags"]),
            "stored": key["source"] == "stored",
            "alive": key["state"] == "active",
        }
        for key in keys
    ]


def sums(found: Sequence[Sum]) -> list[dict[str, Any]]:
    """A row for each sum, with its share of the largest one as the percent of a bar."""
    largest = max((row.input + row.output for row in found), default=0)
    return [
        {
            "group": row.group,
            "figures": {name: f"{value:,}" for name, value in figures(row).items()},
            "percent": round((row.input + row.output) / largest * 100 * _FEW) / _FEW if largest else 0,
        }
        for row in found
    ]
