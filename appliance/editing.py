"""Changes to the configuration file from outside: proposed, judged, shown as a difference, written, put into effect.

The order is always the same: read, change, check, see what a reload would do, write, reload. Any refusal before the
file is written leaves it alone; one after that puts back what was there.
"""

import difflib
import logging
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import trio

from appliance.config.file import ConfigFile, Source
from appliance.config.load import Problem
from appliance.config.masking import Masked, effective, masked, restored
from appliance.config.schema import Config
from appliance.domain.orders import Reloaded
from appliance.errors import GatewayError
from appliance.reload import Reloader

_LOG = logging.getLogger("appliance.editing")
Change = Callable[[str], str]  # from the text of the file to another one; raises OperatorError


@dataclass(frozen=True, slots=True)
class Shown:
    """The configuration as it may be seen.

    Attributes:
        file: its path.
        text: of the file, secrets masked; None where it is not TOML, so that it is not known what of it is secret.
        etag: of that text.
        problems: of that text.
        pending: what a reload would do.
        effective: what is in effect, secrets masked.
        edit: `server.edit` in effect.
    """

    file: str
    text: str | None
    etag: str
    problems: tuple[Problem, ...]
    pending: Reloaded
    effective: dict[str, Any]
    edit: Literal["off", "models", "all"]


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of a proposal, or would.

    Attributes:
        ok: it is in effect, or could be.
        written: the file has changed.
        etag: of the file as it is now.
        diff: from the file as it was to the proposal, unified, secrets masked; empty without any.
        problems: of the proposal.
        reload: what a reload did, or would do; why not, where that is not a matter of the text.
        allowed: whoever asks may write it.
    """

    ok: bool
    written: bool
    etag: str
    diff: str
    problems: tuple[Problem, ...]
    reload: Reloaded
    allowed: bool = True

    def why_not(self, file: str) -> list[str]:
        """One line for each reason why it is not in effect."""
        return [problem.render(file) for problem in self.problems] or list(self.reload.problems)


class Editor:
    """One for each file.

    Args:
        file: that the server was started with.
        reloader: puts it into effect.
    """

    def __init__(self, file: ConfigFile, reloader: Reloader) -> None:
        self._file = file
        self._reloader = reloader
        self._one = trio.Lock()

    @classmethod
    def of(cls, file: ConfigFile | None, reloader: Reloader | None) -> "Editor | None":
        """One, where there is a file."""
        return cls(file, reloader) if file and reloader else None

    async def reload(self, dry_run: bool = False) -> Reloaded:  # noqa: FBT001, FBT002 - also a callback
        """As `Reloader.reload`, of the file."""
        return await self._reloader.reload(dry_run)

    @property
    def path(self) -> str:
        """Of the file."""
        return str(self._file.path)

    @property
    def config(self) -> Config:
        """In effect."""
        return self._reloader.config

    async def shown(self) -> Shown:
        """What there is.

        Raises:
            OperatorError: the file cannot be read.
        """
        source = await trio.to_thread.run_sync(self._file.read)
        _, problems = await trio.to_thread.run_sync(self._file.judge, source.text)
        text = _masked(source.text)
        pending = await self._reloader.reload(dry_run=True)
        config = self._reloader.config
        return Shown(
            self.path,
            text.text if text else None,
            source.etag,
            tuple(problems),
            pending,
            effective(config),
            config.server.edit,
        )

    async def propose(self, text: str, *, etag: str = "", on_the_box: bool = False, dry_run: bool = False) -> Edited:
        """Another text for the whole file, with its secrets masked as `shown` masks them.

        Raises:
            GatewayError: `config_changed`: the file is another one than that of `etag`; `config_protected`.
            OperatorError: the file cannot be read or written.
        """
        return await self._edit(text, etag, on_the_box=on_the_box, dry_run=dry_run)

    async def change(
        self, change: Change, *, etag: str = "", on_the_box: bool = False, dry_run: bool = False
    ) -> Edited:
        """An edit of the file.

        Raises:
            GatewayError: as `propose`.
            OperatorError: what `change` raises, or the file cannot be read or written.
        """
        return await self._edit(change, etag, on_the_box=on_the_box, dry_run=dry_run)

    async def _edit(self, wanted: str | Change, etag: str, *, on_the_box: bool, dry_run: bool) -> Edited:
        async with self._one:
            before = await trio.to_thread.run_sync(self._file.read)
            if etag and etag != before.etag:
                message = "The configuration file has changed since it was read. Read it again, and then change that."
                raise GatewayError("config_changed", message)
            secrets = _masked(before.text)
            if isinstance(wanted, str):
                text = restored(wanted, secrets.secrets if secrets else ())
            else:
                text = wanted(before.text)
            config, problems = await trio.to_thread.run_sync(self._file.judge, text)
            diff = _diff(wanted if isinstance(wanted, str) else text, secrets)
            if config is None or problems:
                reload = Reloaded(ok=False, problems=tuple(problem.render(self.path) for problem in problems))
                return Edited(
                    ok=False, written=False, etag=before.etag, diff=diff, problems=tuple(problems), reload=reload
                )
            allowed = on_the_box or self._may(before, config)
            told = await self._reloader.reload(dry_run=True, text=text)
            if dry_run or not told.ok:
                return Edited(
                    told.ok, written=False, etag=before.etag, diff=diff, problems=(), reload=told, allowed=allowed
                )
            if not allowed:
                raise GatewayError("config_protected", _PROTECTED[self.config.server.edit])
            return await self._write(before, text, diff)

    def _may(self, before: Source, config: Config) -> bool:
        edit = self.config.server.edit
        if edit != "models":
            return edit == "all"
        now, _ = self._file.judge(before.text)
        return now is not None and msgspec.structs.replace(config, models=now.models) == now

    async def _write(self, before: Source, text: str, diff: str) -> Edited:
        # Not to be cancelled half-way: the file and what is in effect say the same afterwards.
        with trio.CancelScope(shield=True):
            after, written = before, text != before.text
            if written:
                after = await trio.to_thread.run_sync(self._file.replace, before, text)
            told = await self._reloader.reload()
            if written and not told.ok:
                await trio.to_thread.run_sync(self._file.restore, before)
                _LOG.warning("the configuration file is put back as it was: it could not be loaded")
                after, written = before, False
        return Edited(told.ok, written, after.etag, diff, (), told)


_PROTECTED = {
    "models": "Over the network only [[models]] may be changed (`server.edit`). Change the rest on the machine itself, "
    'or set `edit = "all"` there: whoever has a key with the scope `admin` can then run programs on it.',
    "off": 'This server\'s configuration is changed on the machine itself only (`edit = "off"`).',
}


def _masked(text: str, known: tuple[str, ...] = ()) -> Masked | None:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    return masked(text, known)


def _diff(after: str, secrets: Masked | None) -> str:
    if secrets is None:
        return ""
    # A text that is no TOML is shown as it was sent, which is how who sent it knows it.
    then = _masked(restored(after, secrets.secrets), secrets.secrets)
    now, new = (
        text.replace("\r\n", "\n").splitlines(keepends=True) for text in (secrets.text, then.text if then else after)
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n" for line in difflib.unified_diff(now, new, "now", "then")
    )
