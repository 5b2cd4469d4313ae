"""The page Keys and usage: make, rotate and revoke keys, and who used what."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.console.pages import Action, Asked, Done, Page, Shown, Values
from appliance.console.views import keys as view
from appliance.console.views.forms import LIMITS, FormError, limits, words
from appliance.errors import GatewayError
from appliance.keystore.stored import NewKey
from appliance.ops.keys import KeyRoutes
from appliance.ops.usage import UsageRoutes
from appliance.usage.report import By, Sum

GROUPS = (
    ("key,model", "key and model"),
    ("key", "key"),
    ("model", "model"),
    ("day", "day"),
    ("day,key", "day and key"),
    ("day,model", "day and model"),
)
SINCE = (("today", "today"), ("7d", "the last 7 days"), ("30d", "the last 30 days"), ("", "ever"))


@dataclass(frozen=True, slots=True)
class KeyPages:
    """What the page needs."""

    keys: KeyRoutes
    usage: UsageRoutes

    def page(self) -> Page:
        """The page."""
        actions: dict[str, Action] = {
            "create": self._create,
            "look": self._look,
            "rotate": self._rotate,
            "revoke": self._revoke,
        }
        return Page("keys", "Keys and usage", self._values, actions)

    async def _values(self, asked: Asked) -> Values:
        by, since = asked.query.get("by", "key,model"), asked.query.get("since", "7d")
        problem = ""
        groups, sums = list[By](), list[Sum]()
        try:
            groups, sums = await self.usage.sums({"by": by} | ({"since": since} if since else {}))
        except GatewayError as error:
            problem = error.message
        return {
            "rows": view.rows(self.keys.rows()),
            "groups": groups,
            "sums": view.sums(sums),
            "problem": problem,
            "by": by,
            "since": since,
            "choices": {"by": GROUPS, "since": SINCE},
            "limits": LIMITS,
            "form": defaultdict(str, models="*", scope_infer="on"),
            "error": "",
            "errors": defaultdict(str),
            "made": None,
            "ask": None,
            "open": "create" in asked.query,
        }

    async def _create(self, asked: Asked) -> Shown:
        form = defaultdict(str, asked.form)
        try:
            text, key = await self.keys.create(wanted(form), asked.session.name, asked.request)
        except FormError as error:
            return Shown({"form": form, "errors": defaultdict(str, {error.field: str(error)}), "open": True}, 422)
        except GatewayError as error:
            return Shown({"form": form, "error": error.message, "open": True}, error.row.status)
        return Shown({"made": {"name": key.name, "text": text, "until": ""}})

    async def _look(self, asked: Asked) -> Shown:
        """Ask before something ends."""
        name, what = asked.form.get("name", ""), asked.form.get("what", "")
        row = next((row for row in self.keys.rows() if row["name"] == name and row["source"] == "stored"), None)
        if row is None or what not in ("rotate", "revoke"):
            raise GatewayError("key_refused", f"There is no stored key {name[:100]!r}.")
        return Shown({"ask": {"what": what, "name": name, "start": row["start"]}})

    async def _rotate(self, asked: Asked) -> Shown:
        grace = asked.form.get("grace", "").strip() or "0s"
        text, key = await self.keys.rotate(asked.form.get("name", ""), grace, asked.session.name, asked.request)
        return Shown({"made": {"name": key.name, "text": text, "until": grace if grace != "0s" else ""}})

    async def _revoke(self, asked: Asked) -> Done:
        changed, key = await self.keys.revoke(asked.form.get("name", ""), asked.session.name, asked.request)
        done = "is revoked" if changed else "was revoked already"
        return Done(f"The key {key.name} {done}. Requests under way end by themselves; new ones are refused.")


def wanted(form: dict[str, str]) -> NewKey:
    """The key that a form asks for.

    Raises:
        FormError: a member of it cannot be read.
    """
    facts: dict[str, Any] = {"name": form.get("name", "").strip(), "scopes": _scopes(form)}
    facts |= {"models": words(form.get("models", "")) or ["*"], "tags": words(form.get("tags", ""))}
    facts |= {"limits": limits(form), "expires": form.get("expires", "").strip() or None}
    facts["local_only"] = form.get("local_only") == "on"
    return msgspec.convert(facts, NewKey)


def _scopes(form: Mapping[str, str]) -> list[str]:
    return [scope for scope in ("infer", "metrics", "admin") if form.get(f"scope_{scope}") == "on"]
