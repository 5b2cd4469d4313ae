"""`/ops/v1/config`: the configuration as it is, and another text for its file: checked, compared, written."""

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.http import Reply, Request
from appliance.domain.orders import Reloaded
from appliance.editing import Edited, Editor
from appliance.errors import GatewayError, OperatorError
from appliance.ops.gate import Gate

_LARGEST = 4 * 2**20  # bytes of a proposal


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text for the whole file.

    Attributes:
        text: secrets may be masked as the server masks them.
        etag: of the file that it was made from; also as `If-Match`.
    """

    text: str
    etag: str = ""


_PROPOSAL = msgspec.json.Decoder(Proposal)


@dataclass(frozen=True, slots=True)
class ConfigRoutes:
    """What the routes need."""

    gate: Gate
    editor: Editor

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("GET", "/ops/v1/config", self._get),
            Route("PUT", "/ops/v1/config", self._put),
            Route("POST", "/ops/v1/config/check", self._check),
        ]

    async def _get(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        try:
            shown = await self.editor.shown()
        except OperatorError as error:
            raise refused(error) from error
        facts = {name: getattr(shown, name) for name in ("file", "text", "etag", "effective", "edit")}
        facts |= {"problems": [problem.facts() for problem in shown.problems], "pending": asdict(shown.pending)}
        reply = json_reply(facts)
        reply.headers += [("etag", f'"{shown.etag}"'), ("cache-control", "no-store")]
        return reply

    async def _check(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        wanted = await _proposal(request)
        on_the_box = self.gate.on_the_box
        try:
            return json_reply(told(await self.editor.propose(wanted.text, on_the_box=on_the_box, dry_run=True)))
        except OperatorError as error:
            raise refused(error) from error

    async def _put(self, request: Request, _: str) -> Reply:
        by = self.gate.admit(request)
        wanted = await _proposal(request)
        etag = wanted.etag or (request.header("if-match") or "").strip('"')
        if not etag:
            message = "Say which file the text was made from: `etag`, as GET /ops/v1/config tells it."
            raise GatewayError("missing_required_parameter", message, param="etag")
        edited = await self.write(wanted.text, etag, by, request)
        return json_reply(told(edited), 200 if edited.ok else 409)

    async def write(self, text: str, etag: str, by: str, request: Request) -> Edited:
        """Replace the file and put it into effect, with a line in the log.

        Raises:
            GatewayError: as `Editor.propose`; `config_refused`.
        """
        action, path = "config write", self.editor.path
        try:
            edited = await self.editor.propose(text, etag=etag, on_the_box=self.gate.on_the_box)
        except (GatewayError, OperatorError) as error:
            raise audited(self.gate, action, path, by, request, error) from error
        audit_edit(self.gate, action, self.editor, path, by, request, edited)
        return edited

    async def reload(self, by: str, request: Request) -> Reloaded:
        """Put the file into effect as it is, with a line in the log."""
        reloaded = await self.editor.reload()
        self.gate.audit("reload", "", by, request, ok=reloaded.ok, detail="\n".join(reloaded.problems))
        return reloaded


async def _proposal(request: Request) -> Proposal:
    try:
        return _PROPOSAL.decode(await request.body.read(_LARGEST))
    except ValueError as error:
        raise GatewayError("invalid_payload", f"The body is not a proposal: {error}.") from error


def told(edited: Edited) -> dict[str, Any]:
    """What became of a proposal, for JSON."""
    facts = {name: getattr(edited, name) for name in ("ok", "written", "allowed", "etag", "diff")}
    return facts | {"problems": [problem.facts() for problem in edited.problems], "reload": asdict(edited.reload)}


def refused(error: OperatorError) -> GatewayError:
    """The answer to an order that cannot be carried out."""
    return GatewayError("config_refused", f"{str(error)[:1].upper()}{str(error)[1:]}.")


def audited(
    gate: Gate, action: str, target: str, by: str, request: Request, error: GatewayError | OperatorError
) -> GatewayError:
    """The answer to a refused order, after it was kept."""
    answer = refused(error) if isinstance(error, OperatorError) else error
    gate.audit(action, target, by, request, ok=False, detail=answer.message)
    return answer


def audit_edit(gate: Gate, action: str, editor: Editor, target: str, by: str, request: Request, edited: Edited) -> None:
    """Keep an order that was carried out, or that the file's problems prevent."""
    detail = edited.reload.words() if edited.ok else "\n".join(edited.why_not(editor.path))
    gate.audit(action, target, by, request, ok=edited.ok, detail=detail)
