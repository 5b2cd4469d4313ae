"""An editor over a real file; whoever reloads is a fake that can refuse."""

from pathlib import Path
from typing import cast

import trio

from appliance.config.file import ConfigFile
from appliance.config.schema import Config
from appliance.domain.orders import Reloaded
from appliance.editing import Editor
from appliance.reload import Reloader

HASH = "sha256:" + "0" * 64
TEXT = f"""\
# Ours.
[server]
edit = "EDIT"
[[keys]]
name = "a"
hash = "{HASH}"
[[backends]]
name = "b"
engine = "vllm"
url = "http://127.0.0.1:1"
[[models]]
name = "m"  # the one
targets = ["b/x"]
"""


class Reloads:
    """Answers as a `Reloader` does; refuses what holds the word `REFUSED`."""

    def __init__(self, file: ConfigFile) -> None:
        self.file = file
        self.config: Config = file.fresh()[0]
        self.loaded: list[str] = []

    async def reload(self, dry_run: bool = False, text: str | None = None) -> Reloaded:
        await trio.lowlevel.checkpoint()
        said = text if text is not None else self.file.read().text
        if not dry_run:
            self.loaded.append(said)
        late = "LATE" in said and not dry_run
        if "REFUSED" in said or late:
            return Reloaded(ok=False, problems=("a restart is needed",))
        return Reloaded(ok=True, models=("m",))


def editor(tmp_path: Path, edit: str = "all", more: str = "") -> tuple[Editor, Reloads, Path]:
    path = tmp_path / "a.toml"
    path.write_text(TEXT.replace("EDIT", edit) + more)
    file = ConfigFile(path, {})
    reloads = Reloads(file)
    return Editor(file, cast("Reloader", reloads)), reloads, path
