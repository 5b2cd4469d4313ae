"""`/ops/v1/models`: the public models, and orders that change their `[[models]]` entries in the configuration file.

A model without an entry, a runtime's own or one that a backend lists, gets one by being changed.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.config import masking
from appliance.config.edit import Settings, add_model, change_model, models_of, remove_model
from appliance.domain.http import Reply, Request
from appliance.editing import Edited, Editor
from appliance.errors import GatewayError, OperatorError
from appliance.fleet.table import FleetTable
from appliance.health.report import readiness
from appliance.ops.config import audit_edit, audited, told
from appliance.ops.gate import Gate
from appliance.routing.catalogue import Catalogue

_LARGEST = 2**16  # bytes of an order
_YES = ("1", "true")
_SETTINGS = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """What the routes need."""

    gate: Gate
    editor: Editor
    catalogue: Catalogue
    fleet: FleetTable

    def routes(self) -> list[Route]:
        """The routes; `{id}` is the public name of a model."""
        return [
            Route("GET", "/ops/v1/models", self._list),
            Route("POST", "/ops/v1/models/{id}", partial(self._order, "POST")),
            Route("PATCH", "/ops/v1/models/{id}", partial(self._order, "PATCH")),
            Route("DELETE", "/ops/v1/models/{id}", partial(self._order, "DELETE")),
        ]

    async def _list(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        return json_reply({"models": self.rows()})

    def rows(self) -> list[dict[str, Any]]:
        """Every model: those with an entry in the configuration in effect, then the others."""
        fleet = self.fleet.snapshot()
        listed = self.catalogue.listed(fleet)
        states = readiness(fleet, {name: model.targets for name, model in listed.items()})
        rows = []
        for model in self.editor.config.models:
            facts = masking.model(model)
            rows.append(facts | {"source": "configuration"} | states.get(model.name, _OFF))
        named = {row["name"] for row in rows}
        for name, public in listed.items():
            if name not in named:
                targets = [target.name for target in public.targets]
                source = "backend" if public.targets[0].kind == "backend" else "runtime"
                rows.append({"name": name, "targets": targets, "active": True, "source": source} | states[name])
        return rows

    async def _order(self, method: str, request: Request, name: str) -> Reply:
        by = self.gate.admit(request)
        settings = _settings(await request.body.read(_LARGEST))
        dry_run = parse_qs(request.query).get("dry_run", ["0"])[-1] in _YES
        etag = (request.header("if-match") or "").strip('"')
        edited = await self.carry_out(method, name, settings, by, request, etag=etag, dry_run=dry_run)
        return json_reply(told(edited), 200 if edited.ok else 409)

    async def carry_out(
        self,
        method: str,
        name: str,
        settings: Settings,
        by: str,
        request: Request,
        *,
        etag: str = "",
        dry_run: bool = False,
    ) -> Edited:
        """Add (POST), change (PATCH) or remove (DELETE) a model, with a line in the log.

        Raises:
            GatewayError: as `Editor.change`; `model_not_found`, `config_refused`.
        """
        action, edit = _ACTIONS[method], partial(self._edited, method, name, settings)
        try:
            edited = await self.editor.change(edit, etag=etag, on_the_box=self.gate.on_the_box, dry_run=dry_run)
        except (GatewayError, OperatorError) as error:
            raise audited(self.gate, action, name, by, request, error) from error
        if not dry_run:
            audit_edit(self.gate, action, self.editor, name, by, request, edited)
        return edited

    def _edited(self, method: str, name: str, settings: Settings, text: str) -> str:
        """The text after an order; a model that has no entry gets one by being changed. Who has seen it masked may
        leave its secrets so.
        """
        entry = next((row for row in models_of(text) if row.get("name") == name), None)
        settings = masking.with_secrets(settings, entry or {})
        if method == "POST":
            return add_model(text, name, settings)
        public = self.catalogue.listed(self.fleet.snapshot()).get(name)
        if entry is not None:
            return remove_model(text, name) if method == "DELETE" else change_model(text, name, settings)
        if public is None or method == "DELETE":
            raise GatewayError("model_not_found", f"There is no model {name[:100]!r}. GET /ops/v1/models lists all.")
        return add_model(text, name, {"targets": [target.name for target in public.targets], **settings})


_ACTIONS = {"POST": "models add", "PATCH": "models set", "DELETE": "models remove"}
_OFF = {"ready": False, "state": "off", "reason": "", "progress": ""}


def _settings(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return _SETTINGS.decode(body)
    except ValueError as error:
        raise GatewayError("invalid_payload", f"The body is not an object of settings: {error}.") from error
