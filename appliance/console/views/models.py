"""The settings of a model as the members of a form, and back. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.config.schema import Model
from appliance.console.views.forms import LIMITS, limits, table, words
from appliance.console.views.tones import tone

CHOICES = {
    "balance": ("least-busy", "prefix"),
    "system": ("keep", "first", "user"),
    "developer": ("keep", "system", "user"),
}
_TABLES = ("defaults", "forced")
_LISTS = ("targets", "guardrails", "stripped")
_DEFAULTS: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(Model(name="", targets=())))


def rows(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each model of `GET /ops/v1/models`."""
    return [
        {
            "name": row["name"],
            "state": row["state"],
            "tone": tone(str(row["state"])) if row["active"] else "",
            "kind": row.get("kind", ""),
            "targets": ", ".join(row["targets"]),
            "source": row["source"],
            "default": row.get("default", False),
            "active": row["active"],
            "entry": row["source"] == "configuration",
            "words": row["reason"] or row["progress"],
        }
        for row in models
    ]


def form_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What a form begins with: the settings of a row, or defaults."""
    found = {**_DEFAULTS, **row}
    form = {name: str(found[name]) for name in ("name", "kind", *CHOICES)}
    form |= {name: ("\n" if name == "targets" else ", ").join(found[name]) for name in _LISTS}
    form |= {name: "on" if found[name] else "" for name in ("active", "default")}
    form |= {name: _lines(found[name]) for name in _TABLES}
    most = found["limits"] or {}
    return form | {f"limit_{name}": str(most.get(name) or "") for name, _ in LIMITS}


def settings_of(form: dict[str, str]) -> dict[str, Any]:
    """Every setting that a form has, defaults included.

    Raises:
        FormError: a member of it cannot be read.
    """
    settings: dict[str, Any] = {"kind": form.get("kind", "")}
    settings |= {name: form.get(name) or choice[0] for name, choice in CHOICES.items()}
    settings |= {name: form.get(name) == "on" for name in ("active", "default")}
    settings |= {name: words(form.get(name, "")) for name in _LISTS}
    settings |= {name: table(form, name) for name in _TABLES}
    return settings | {"limits": limits(form)}


def changes(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings to change: what is as it was is left alone, and what becomes its default is taken out."""
    found = {}
    for name, value in wanted.items():
        default = _DEFAULTS.get(name)
        was: Any = before.get(name, default)
        was = list(was) if isinstance(was, tuple) else was
        if name == "limits" and was is not None:
            was = {limit: most for limit, most in was.items() if most is not None}
        if was != value:
            found[name] = None if value == default else value
    return found


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} = {_toml(value)}" for name, value in table.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()  # what JSON writes, TOML reads
