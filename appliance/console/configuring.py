"""The page Config: what is in effect, what a reload would do, and another text for the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.console.pages import Asked, Done, Page, Shown, Values
from appliance.console.views.proposal import problems, proposal
from appliance.errors import GatewayError
from appliance.ops.config import ConfigRoutes


@dataclass(frozen=True, slots=True)
class ConfigPages:
    """What the page needs."""

    config: ConfigRoutes

    def page(self) -> Page:
        """The page."""
        actions = {"check": self._check, "write": self._write, "reload": self._reload}
        return Page("config", "Config", self._values, actions)

    async def _values(self, _: Asked) -> Values:
        shown = await self.config.editor.shown()
        return {
            "file": shown.file,
            "text": shown.text,
            "etag": shown.etag,
            "edit": shown.edit,
            "wrong": problems(shown.problems, shown.text),
            "pending": shown.pending,
            "effects": shown.pending.words().split("; ") if shown.pending.ok else [],
            "sections": sections(shown.effective),
            "proposal": None,
            "error": "",
        }

    async def _check(self, asked: Asked) -> Shown:
        """Show what a text would do."""
        text = _text(asked)
        edited = await self.config.editor.propose(text, dry_run=True)
        return Shown({"text": text, "proposal": proposal(edited, text)}, 200 if edited.ok else 422)

    async def _write(self, asked: Asked) -> Done | Shown:
        text = _text(asked)
        try:
            edited = await self.config.write(text, asked.form.get("etag", ""), asked.session.name, asked.request)
        except GatewayError as error:
            return Shown({"text": text, "error": error.message}, error.row.status)
        if not edited.ok:
            return Shown({"text": text, "proposal": proposal(edited, text)}, 422)
        return Done(f"The configuration is in effect: {edited.reload.words()}.")

    async def _reload(self, asked: Asked) -> Done:
        told = await self.config.reload(asked.session.name, asked.request)
        if not told.ok:
            return Done("\n".join(["Nothing has changed: the file is refused.", *told.problems]), ok=False)
        return Done(f"The configuration is in effect: {told.words()}.")


def sections(effective: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each section in effect with its settings in words; of a list of tables, each by its name."""
    found = []
    for section, value in effective.items():
        if isinstance(value, Mapping):
            found.append((f"[{section}]", _settings(value)))
        else:
            found += [(f"[[{section}]] {row['name']}", _settings(row)) for row in value]
    return found


def _settings(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _words(value)) for name, value in table.items() if name != "name" and value is not None]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_words(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(asked: Asked) -> str:
    """As it was in the file: forms end every line as Windows does."""
    return asked.form.get("text", "").replace("\r\n", "\n")
