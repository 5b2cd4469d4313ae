"""The page Models: add, change, switch off and remove, each shown as a difference before it is written."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.config.edit import Settings
from appliance.console.pages import Asked, Done, Page, Shown, Values
from appliance.console.views import models as view
from appliance.console.views.forms import LIMITS, FormError
from appliance.console.views.proposal import by_field, proposal
from appliance.domain.calls import KINDS
from appliance.errors import GatewayError
from appliance.ops.models import ModelRoutes

_METHODS = {"add": "POST", "set": "PATCH", "off": "PATCH", "on": "PATCH", "remove": "DELETE"}
_DONE = {
    "add": "is there",
    "set": "is changed",
    "off": "is switched off",
    "on": "is switched on",
    "remove": "has no entry any more",
}
_MEMBERS = frozenset(view.form_of({}))


@dataclass(frozen=True, slots=True)
class ModelPages:
    """What the page needs.

    Attributes:
        known: what can be a target, for the reader to choose from.
    """

    models: ModelRoutes
    known: Callable[[], Sequence[str]]

    def page(self) -> Page:
        """The page."""
        return Page("models", "Models", self._values, {"look": self._look, "write": self._write})

    async def _values(self, asked: Asked) -> Values:
        name = asked.query.get("edit", "")
        row = next((row for row in self.models.rows() if row["name"] == name), None)
        form = view.form_of(row) if row is not None else None
        if "add" in asked.query:
            form = view.form_of({})
        return self._shown("set" if row is not None else "add", form)

    def _shown(self, what: str, form: dict[str, str] | None, **more: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "rows": view.rows(self.models.rows()),
            "what": what,
            "form": form,
            "errors": defaultdict(str),
            "proposal": None,
        }
        shown |= {"limits": LIMITS, "choices": view.CHOICES, "kinds": list(KINDS), "known": self.known()}
        return (
            shown
            | {
                "edit": self.models.editor.config.server.edit,
                "file": self.models.editor.path,
                "name": "",
                "members": {},
            }
            | more
        )

    async def _look(self, asked: Asked) -> Shown:
        """Show what an order would do."""
        return await self._tried(asked, dry_run=True)

    async def _write(self, asked: Asked) -> Done | Shown:
        tried = await self._tried(asked, dry_run=False)
        found = tried.values["proposal"]
        if found is None or not found["ok"]:
            return tried
        return Done(f"{tried.values['name']} {_DONE[tried.values['what']]}.")

    async def _tried(self, asked: Asked, *, dry_run: bool) -> Shown:
        form, what = dict(asked.form), asked.form.get("what", "")
        name = form.get("name", "").strip()
        if what not in _METHODS or not name:
            raise GatewayError("missing_required_parameter", "Give the model a name.", param="name")
        whole = what in ("add", "set")
        kept = {member: form.get(member, "") for member in _MEMBERS} if whole else None
        members = {member: text for member, text in form.items() if member != "etag"}
        values = self._shown(what, kept, name=name, members=members)
        try:
            edited = await self.models.carry_out(
                _METHODS[what],
                name,
                self._settings(what, name, form),
                asked.session.name,
                asked.request,
                etag="" if dry_run else form.get("etag", ""),
                dry_run=dry_run,
            )
        except FormError as error:
            return Shown(values | {"errors": defaultdict(str, {error.field: str(error)})}, 422)
        except GatewayError as error:
            return Shown(values | {"errors": defaultdict(str, {"": error.message})}, error.row.status)
        errors = defaultdict(str, by_field(edited.problems, "models"))
        status = 200 if edited.ok else 422
        return Shown(values | {"proposal": proposal(edited), "errors": errors}, status)

    def _settings(self, what: str, name: str, form: dict[str, str]) -> Settings:
        if what in ("off", "on"):
            return {"active": False if what == "off" else None}
        if what == "remove":
            return {}
        wanted = view.settings_of(form)
        before = next((row for row in self.models.rows() if row["name"] == name and what == "set"), {})
        found = view.changes(before, wanted)
        if what == "add" and not wanted["targets"]:
            raise FormError("targets", "Name at least one target.")
        return {"targets": wanted["targets"], **found} if what == "add" else found
