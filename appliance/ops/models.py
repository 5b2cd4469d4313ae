"""`/ops/v1/models`: the public models, and orders that change their `[[models]]` entries in the configuration file.

A model without an entry, a runtime's own or one that a backend lists, gets one by being changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.config.edit import add_model, change_model, models_of, remove_model
from appliance.domain.http import Reply, Request
from appliance.editing import Editor
from appliance.errors import GatewayError, OperatorError
from appliance.fleet.table import FleetTable
from appliance.health.report import readiness
from appliance.ops.config import audit_edit, audited, told
from appliance.ops.gate import Gate
from appliance.routing.catalogue import Catalogue

_LARGEST = 2**16  # bytes of an order
_YES = ("1", "true")
_SETTINGS = msgspec.json.Decoder(dict[str, Any])
Edit = Callable[[str], str]


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
            Route("POST", "/ops/v1/models/{id}", partial(self._order, "models add", self._added)),
            Route("PATCH", "/ops/v1/models/{id}", partial(self._order, "models set", self._changed)),
            Route("DELETE", "/ops/v1/models/{id}", partial(self._order, "models remove", self._removed)),
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
            facts = msgspec.to_builtins(model)
            rows.append(facts | {"source": "configuration"} | states.get(model.name, _OFF))
        named = {row["name"] for row in rows}
        for name, public in listed.items():
            if name not in named:
                targets = [target.name for target in public.targets]
                source = "backend" if public.targets[0].kind == "backend" else "runtime"
                rows.append({"name": name, "targets": targets, "active": True, "source": source} | states[name])
        return rows

    async def _order(
        self, action: str, edit_of: Callable[[str, Mapping[str, Any]], Edit], request: Request, name: str
    ) -> Reply:
        by = self.gate.admit(request)
        query = {key: values[-1] for key, values in parse_qs(request.query).items()}
        dry_run = query.get("dry_run", "0") in _YES
        try:
            settings = _settings(await request.body.read(_LARGEST))
            edit = edit_of(name, settings)
            etag = (request.header("if-match") or "").strip('"')
            edited = await self.editor.change(edit, etag=etag, on_the_box=self.gate.on_the_box, dry_run=dry_run)
        except (GatewayError, OperatorError) as error:
            raise audited(action, name, by, request, error) from error
        if not dry_run:
            audit_edit(action, self.editor, name, by, request, edited)
        return json_reply(told(edited), 200 if edited.ok else 409)

    def _added(self, name: str, settings: Mapping[str, Any]) -> Edit:
        return lambda text: add_model(text, name, settings)

    def _changed(self, name: str, settings: Mapping[str, Any]) -> Edit:
        return lambda text: self.changed(text, name, settings)

    def changed(self, text: str, name: str, settings: Mapping[str, Any]) -> str:
        """The text with other settings of a model, which gets an entry if it has none.

        Raises:
            GatewayError: `model_not_found`.
            OperatorError: the text cannot be changed.
        """
        if any(row.get("name") == name for row in models_of(text)):
            return change_model(text, name, settings)
        public = self.catalogue.listed(self.fleet.snapshot()).get(name)
        if public is None:
            raise _unknown(name)
        return add_model(text, name, {"targets": [target.name for target in public.targets], **settings})

    def _removed(self, name: str, _: Mapping[str, Any]) -> Edit:
        def edit(text: str) -> str:
            if not any(row.get("name") == name for row in models_of(text)):
                raise _unknown(name)
            return remove_model(text, name)

        return edit


_OFF = {"ready": False, "state": "off", "reason": "", "progress": ""}


def _unknown(name: str) -> GatewayError:
    return GatewayError("model_not_found", f"There is no model {name[:100]!r}. GET /ops/v1/models lists all.")


def _settings(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return _SETTINGS.decode(body)
    except ValueError as error:
        raise GatewayError("invalid_payload", f"The body is not an object of settings: {error}.") from error
