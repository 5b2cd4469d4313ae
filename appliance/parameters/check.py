"""Judges what was picked up from a request. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from appliance.config.schema import Key, KeyParameters, Parameters
from appliance.domain.parameters import RULES, Rule
from appliance.errors import GatewayError
from appliance.parameters.shape import deeper_than

_MEDIA = RULES["media"]
_RAISE = "the server's owner can allow it to this key"
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HTTP = (b'"http://', b'"https://')


@dataclass(frozen=True, slots=True)
class _Allowed:
    """The settings that hold for one key."""

    most: Mapping[str, int]  # by setting
    depth: int
    remote: bool
    fields: frozenset[str]  # allowed although they are refused to others


class ParameterRules:
    """The settings of a configuration, ready for use."""

    def __init__(self, settings: Parameters | None = None, keys: Sequence[Key] = ()) -> None:
        self._settings = settings or Parameters()
        self._common = _allowed(self._settings, None)
        self._keys = {key.name: _allowed(self._settings, key.parameters) for key in keys if key.parameters is not None}

    def check(self, watched: Mapping[str, bytes], key: str, engines: Collection[str]) -> None:
        """Judge a request.

        Args:
            watched: members by name and media by place, undecoded.
            key: name of whoever asks.
            engines: of all targets that may get it.

        Raises:
            GatewayError: `parameter_blocked`, with the field in `param`.
        """
        allowed = self._keys.get(key, self._common)
        for name, raw in watched.items():
            rule = RULES.get(name) or RULES.get(name.rpartition(".")[2], _MEDIA)
            if raw == b"null" or name in allowed.fields or (rule.unknown_to and rule.unknown_to.issuperset(engines)):
                continue
            _judge(rule, name, raw, allowed)


def _allowed(settings: Parameters, own: KeyParameters | None) -> _Allowed:
    def value(name: str) -> int:
        mine: int | None = getattr(own, name, None)
        common: int = getattr(settings, name)
        return common if mine is None else mine

    names = ("most_choices", "most_logprobs", "most_stops", "most_tools", "schema_size")
    fields = frozenset(settings.allow) | frozenset(own.allow if own else ())
    return _Allowed({name: value(name) for name in names}, value("schema_depth"), bool(value("remote_media")), fields)


def _judge(rule: Rule, name: str, raw: bytes, allowed: _Allowed) -> None:
    most = allowed.most[rule.setting]
    match rule.kind:
        case "refused":
            raise _blocked(name, f"must not be used here: {rule.why}. Leave it out; {_RAISE}")
        case "number":
            _check_number(rule, name, raw, most)
        case "media":
            _check_media(rule, name, raw, allowed)
        case "items" if not raw.startswith(b"["):
            pass  # one of it, or of a wrong type, which the engine refuses
        case "items":
            if (count := _count(raw)) > most:
                what = f"has {count} entries, and at most {most} are allowed (`{rule.setting}`): {rule.why}"
                raise _blocked(name, f"{what}. Send fewer; {_RAISE}")
            _check_shape(rule, name, raw, allowed)
        case _:
            _check_shape(rule, name, raw, allowed)
            for member in _members_of(raw) if rule.without else ():
                if member in rule.without and f"{name}.{member}" not in allowed.fields:
                    raise _blocked(f"{name}.{member}", f"must not be used here: {rule.why}. Leave it out; {_RAISE}")


def _check_number(rule: Rule, name: str, raw: bytes, most: int) -> None:
    try:
        value = msgspec.json.decode(raw)
    except ValueError:
        return
    # -1 stands for all that there are; what is no number is for the engine to refuse.
    if isinstance(value, int | float) and not isinstance(value, bool) and (value > most or value < 0):
        what = f"must be at most {most} here (`{rule.setting}`): {rule.why}"
        raise _blocked(name, f"{what}. Ask for fewer; {_RAISE}")


def _check_media(rule: Rule, name: str, raw: bytes, allowed: _Allowed) -> None:
    if allowed.remote and raw.startswith(_HTTP):
        return
    raise _blocked(
        name,
        f"must be inline, as a data: URL: {rule.why}. Send the data itself"
        + ("." if allowed.remote else "; the server's owner can allow http and https with `remote_media`."),
        stop="",
    )


def _check_shape(rule: Rule, name: str, raw: bytes, allowed: _Allowed) -> None:
    size, depth = allowed.most["schema_size"], allowed.depth
    if len(raw) > size:
        what = f"has {len(raw)} bytes, and at most {size} are allowed (`schema_size`): {rule.why}"
        raise _blocked(name, f"{what}. Send less; {_RAISE}")
    if deeper_than(raw, depth):
        what = f"is nested more than {depth} deep (`schema_depth`): {rule.why}"
        raise _blocked(name, f"{what}. Make it flatter; {_RAISE}")


def _count(raw: bytes) -> int:
    try:
        return len(_ITEMS.decode(raw))
    except ValueError:
        return 0


def _members_of(raw: bytes) -> Collection[str]:
    try:
        return _MEMBERS.decode(raw)
    except ValueError:
        return ()


def _blocked(name: str, what: str, *, stop: str = ".") -> GatewayError:
    return GatewayError("parameter_blocked", f"{name!r} {what}{stop}", param=name)
