"""One stored key, and what making, rotating and revoking do to the stored keys. Pure; times are seconds since 1970."""

import hashlib
from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from appliance.access.keys import Caller, Credential, digest_of
from appliance.config.check import check
from appliance.config.schema import Config, Key, Limits
from appliance.config.units import Moment, Seconds
from appliance.errors import OperatorError

Scope = Literal["infer", "metrics", "admin"]
_SHOWN = 4  # characters of a key beyond its prefix that tell it from others, of 40
_MOST_FORMER = 10
_REMEMBERED = 90 * 86_400  # seconds for which who has a replaced key is told so


class Former(msgspec.Struct, frozen=True):
    """A text that the key had before it was rotated.

    Attributes:
        until: it works until then.
    """

    hash: str
    until: float


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key as it is kept; the settings of a `[[keys]]` section and its history.

    Attributes:
        start: the first characters of its text, to recognise it by.
        created: when it, or the text that it has now, was made.
        former: the texts that it had before, latest first.
    """

    name: str
    hash: str
    start: str
    created: float
    scopes: tuple[Scope, ...] = ("infer",)
    models: tuple[str, ...] = ("*",)
    limits: Limits | None = None
    expires: float | None = None
    tags: tuple[str, ...] = ()
    local_only: bool = False
    weight: int = 1
    priority: int = 0
    revoked: float | None = None
    former: tuple[Former, ...] = ()

    @property
    def prefix(self) -> str:
        """What its text begins with, before the random letters."""
        return self.start[:-_SHOWN]

    @property
    def section(self) -> Key:
        """The same as a section of the configuration."""
        return Key(
            name=self.name,
            hash=self.hash,
            scopes=self.scopes,
            models=self.models,
            limits=self.limits,
            expires=None if self.expires is None else Moment(self.expires),
            tags=self.tags,
            local_only=self.local_only,
            weight=self.weight,
            priority=self.priority,
        )

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """What it is at a time."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants of a key that is to be made.

    Attributes:
        expires: a date (`2027-01-31`, also with a time and zone), or a duration from now (`90d`).
        prefix: what its text begins with; None for the server's own.
    """

    name: str
    scopes: tuple[Scope, ...] = ("infer",)
    models: tuple[str, ...] = ("*",)
    limits: Limits | None = None
    expires: str | None = None
    tags: tuple[str, ...] = ()
    local_only: bool = False
    weight: int = 1
    priority: int = 0
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,20}$")] | None = None


Keys = tuple[StoredKey, ...]


def hash_of(text: str) -> str:
    """What is kept of a key's text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def made(wanted: NewKey, text: str, prefix: str, now: float) -> StoredKey:
    """The key that somebody wants, with a fresh text that begins with a prefix.

    Raises:
        OperatorError: it cannot be as it is wanted; one line for each reason.
    """
    key = StoredKey(
        name=wanted.name,
        hash=hash_of(text),
        start=text[: len(prefix) + _SHOWN],
        created=now,
        scopes=wanted.scopes,
        models=wanted.models,
        limits=wanted.limits,
        expires=_expiry(wanted.expires, now),
        tags=wanted.tags,
        local_only=wanted.local_only,
        weight=wanted.weight,
        priority=wanted.priority,
    )
    findings = check(Config(keys=(key.section,)), has_environment_keys=True)
    if findings:
        raise OperatorError("\n".join(f"{found.what}; {found.fix}".replace("`keys[0].", "`") for found in findings))
    if not key.scopes or not key.models:
        raise OperatorError("a key without scopes or without models would open nothing")
    return key


def with_new(keys: Keys, new: StoredKey, configured: Collection[str], now: float) -> Keys:
    """The keys and a new one, which may take the place of one that has ended.

    Raises:
        OperatorError: the name is taken.
    """
    if new.name in configured:
        raise OperatorError(f'"{new.name}" is the name of a [[keys]] entry of the configuration; choose another one')
    for key in keys:
        if key.name == new.name and key.state(now) == "active":
            raise OperatorError(f'there is a key "{new.name}" already: choose another name, or rotate or revoke it')
    return (*(key for key in keys if key.name != new.name), new)


def rotated(keys: Keys, name: str, letters: str, grace: float, now: float) -> Keys:
    """The keys, one of them with a fresh text; its old one works for `grace` seconds more.

    Args:
        keys: one of them has the name.
        name: of the key.
        letters: of the fresh text, after the prefix that the key has (`StoredKey.prefix`).
        grace: seconds.
        now: seconds since 1970.

    Raises:
        OperatorError: it has ended.
    """
    old = next(key for key in keys if key.name == name)
    if old.state(now) != "active":
        raise OperatorError(f'the key "{name}" has {_ENDED[old.state(now)]}; make a new one')
    former = [Former(old.hash, now + grace), *(one for one in old.former if one.until + _REMEMBERED > now)]
    fresh = msgspec.structs.replace(
        old,
        hash=hash_of(old.prefix + letters),
        start=old.prefix + letters[:_SHOWN],
        created=now,
        former=tuple(former[:_MOST_FORMER]),
    )
    return tuple(fresh if key is old else key for key in keys)


def revoked(keys: Keys, name: str, now: float) -> Keys:
    """The keys, one of them without effect from now on, as are the texts that it had before."""
    return tuple(
        msgspec.structs.replace(key, revoked=now) if key.name == name and key.revoked is None else key for key in keys
    )


def require(keys: Keys, name: str, configured: Collection[str]) -> StoredKey:
    """The key of a name.

    Raises:
        OperatorError: it is none of the stored ones.
    """
    if name in configured:
        raise OperatorError(
            f'"{name}" is a [[keys]] entry of the configuration, which only its owner changes: edit the file, then run '
            "`appliance reload`"
        )
    for key in keys:
        if key.name == name:
            return key
    raise OperatorError(f'there is no key "{name}"; `appliance keys list` shows those that there are')


def credentials(keys: Keys) -> list[Credential]:
    """Everything that opens something, or did, with its end."""
    found = []
    for key in keys:
        caller = Caller(key.name, frozenset(key.scopes), key.models, key.local_only)
        ends = [end for end in (key.expires, key.revoked) if end is not None]
        until = min(ends, default=None)
        ended: Literal["has expired", "was revoked"] = "has expired" if key.revoked is None else "was revoked"
        found.append(Credential(digest_of(key.hash), caller, until, ended))
        for former in key.former:
            end = min([former.until, *ends])
            found.append(Credential(digest_of(former.hash), caller, end, "was replaced by a new one"))
    return found


_ENDED = {"expired": "expired", "revoked": "been revoked"}


def _expiry(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        at = now + Seconds.parse(text)
    except ValueError:
        try:
            at = Moment.parse(text)
        except ValueError:
            words = f'"{text[:60]}" is neither a date such as 2027-01-31 nor a duration such as 90d'
            raise OperatorError(words) from None
    if at <= now:
        raise OperatorError(f"a key that expires on {text} would never work: that is over")
    return float(at)
