"""What a new configuration changes, and what of it needs a restart. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.config.masking import effective
from appliance.config.schema import Config

_LIVE = ("keys", "models", "backends", "providers", "runtimes", "guardrails")  # what changes while the appliance runs
_LIVE_SETTINGS = ("usage", "events", "parameters")  # the same, of sections whose settings are told one by one
_LIVE_SERVER = (
    "queue",
    "queue_wait",
    "queue_keepalive",
    "circuit_failures",
    "names",
)  # settings of [server] that do so too


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of what was added, changed or removed; runtimes are the supervisor's to judge.

    Attributes:
        settings: others that change while the appliance runs.
        restart: settings whose new values are used after a restart only, such as `server.listen`.
    """

    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


def difference(old: Config, new: Config) -> Difference:
    """What differs."""
    settings = _settings(old, new)
    live = [name for name in settings if _changes_at_once(name)]
    return Difference(
        keys=_names(old.keys, new.keys),
        models=_names(old.models, new.models),
        backends=_names(old.backends, new.backends),
        providers=_names(old.providers, new.providers),
        guardrails=_names(old.guardrails, new.guardrails),
        settings=tuple(live),
        restart=tuple(name for name in settings if name not in live),
    )


def in_effect(old: Config, new: Config) -> Config:
    """The configuration that holds once `new` was loaded by a server that was started with `old`."""
    kept = {name: getattr(old, name) for name in _fields(Config) if name not in (*_LIVE, *_LIVE_SETTINGS)}
    live = {name: getattr(new.server, name) for name in _LIVE_SERVER}
    kept["server"] = msgspec.structs.replace(old.server, **live)
    return msgspec.structs.replace(new, **kept)


def _names(old: Sequence[Any], new: Sequence[Any]) -> tuple[str, ...]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    names = [*before, *(name for name in after if name not in before)]
    return tuple(name for name in names if before.get(name) != after.get(name))


def _settings(old: Config, new: Config) -> list[str]:
    found = []
    for section in _fields(Config):
        before, after = getattr(old, section), getattr(new, section)
        if section in _LIVE or before == after:
            continue
        if isinstance(before, msgspec.Struct):
            found += [f"{section}.{name}" for name in _fields(before) if getattr(before, name) != getattr(after, name)]
        else:
            found.append(section)
    return found


def _changes_at_once(setting: str) -> bool:
    section, _, name = setting.partition(".")
    return section in _LIVE_SETTINGS or (section == "server" and name in _LIVE_SERVER)


def _fields(struct: Any) -> list[str]:
    return [field.name for field in msgspec.structs.fields(struct)]


def digest_of(config: Config) -> str:
    """Tells a configuration from any other one; the same on every machine, whatever the order of its file.

    Anybody may see it, so nothing of it comes from a secret: where only secrets differ it is the same.
    """
    return hashlib.sha256(msgspec.json.encode(effective(config), order="sorted")).hexdigest()[:12]
