"""`/ops/v1/keys`: the keys that there are, and orders to make, rotate and revoke stored ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.config.schema import Key
from appliance.config.units import Seconds
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError, OperatorError
from appliance.keystore.keeper import Keeper
from appliance.keystore.shown import configured_key, stored_key
from appliance.keystore.stored import NewKey, StoredKey
from appliance.ops.gate import Gate

_LARGEST = 2**16  # bytes of an order
_NEW_KEY = msgspec.json.Decoder(NewKey)
_NO_STORE = ("cache-control", "no-store")


@dataclass(frozen=True, slots=True)
class KeyRoutes:
    """What the routes need.

    Attributes:
        configured: keys of the configuration in effect.
        date: seconds since 1970.
        asks_for_keys: the server lets nobody in without one.
    """

    gate: Gate
    keeper: Keeper
    configured: Callable[[], Sequence[Key]]
    date: Callable[[], float]
    asks_for_keys: bool

    def routes(self) -> list[Route]:
        """The routes; `{id}` is the name of a key."""
        return [
            Route("GET", "/ops/v1/keys", self._list),
            Route("POST", "/ops/v1/keys", self._create),
            Route("POST", "/ops/v1/keys/rotate/{id}", self._rotate),
            Route("POST", "/ops/v1/keys/revoke/{id}", self._revoke),
        ]

    async def _list(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        return json_reply({"keys": self.rows(), "asks_for_keys": self.asks_for_keys})

    def rows(self) -> list[dict[str, Any]]:
        """All keys, those of the configuration first."""
        now = self.date()
        return [configured_key(key, now) for key in self.configured()] + [
            stored_key(key, now) for key in self.keeper.keys
        ]

    async def _create(self, request: Request, _: str) -> Reply:
        by = self.gate.admit(request)
        return self._told(*await self.create(_order(await request.body.read(_LARGEST)), by, request))

    async def create(self, wanted: NewKey, by: str, request: Request) -> tuple[str, StoredKey]:
        """Make a key, with a line in the log: its text, and what is kept.

        Raises:
            GatewayError: `key_refused`.
        """
        try:
            text, key = await self.keeper.create(wanted)
        except OperatorError as error:
            raise self._refused("keys create", wanted.name, by, request, error) from error
        self.gate.audit("keys create", key.name, by, request, ok=True, detail=f"scopes {', '.join(key.scopes)}")
        return text, key

    async def _rotate(self, request: Request, name: str) -> Reply:
        by = self.gate.admit(request)
        grace = parse_qs(request.query).get("grace", ["0s"])[-1]
        return self._told(*await self.rotate(name, grace, by, request))

    async def rotate(self, name: str, grace: str, by: str, request: Request) -> tuple[str, StoredKey]:
        """Give a key a new text, with a line in the log; the old one works for `grace` more.

        Raises:
            GatewayError: `invalid_payload`: `grace` is no duration; `key_refused`.
        """
        seconds = _seconds(grace)
        try:
            text, key = await self.keeper.rotate(name, seconds)
        except OperatorError as error:
            raise self._refused("keys rotate", name, by, request, error) from error
        self.gate.audit("keys rotate", name, by, request, ok=True, detail=f"the old one works for {seconds:g} s more")
        return text, key

    async def _revoke(self, request: Request, name: str) -> Reply:
        by = self.gate.admit(request)
        changed, key = await self.revoke(name, by, request)
        return json_reply({"changed": changed, **stored_key(key, self.date())})

    async def revoke(self, name: str, by: str, request: Request) -> tuple[bool, StoredKey]:
        """End a key, with a line in the log; whether it had not ended before.

        Raises:
            GatewayError: `key_refused`.
        """
        try:
            changed, key = await self.keeper.revoke(name)
        except OperatorError as error:
            raise self._refused("keys revoke", name, by, request, error) from error
        self.gate.audit("keys revoke", name, by, request, ok=True, detail="" if changed else "it was revoked already")
        return changed, key

    def _refused(self, action: str, name: str, by: str, request: Request, error: OperatorError) -> GatewayError:
        self.gate.audit(action, name, by, request, ok=False, detail=str(error))
        return GatewayError("key_refused", f"{str(error)[:1].upper()}{str(error)[1:]}.")

    def _told(self, text: str, key: StoredKey) -> Reply:
        facts = stored_key(key, self.date())
        reply = json_reply({"key": text, **facts, "asks_for_keys": self.asks_for_keys})
        reply.headers.append(_NO_STORE)
        return reply


def _order(body: bytes) -> NewKey:
    try:
        return _NEW_KEY.decode(body)
    except ValueError as error:
        raise GatewayError("invalid_payload", f"The body is not what makes a key: {error}.") from error


def _seconds(text: str) -> float:
    try:
        return Seconds.parse(text)
    except ValueError as error:
        raise GatewayError("invalid_payload", f"`grace`: {error}.", param="grace") from error
