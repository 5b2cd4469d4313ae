"""The configuration file of a running server: read, judged, replaced. Everything here blocks.

A file is replaced whole or not at all, keeps its owner and mode, and what was there before stays beside it as `.bak`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.config.load import Check, Problem, build_config, inspect, read_text
from appliance.config.schema import Config
from appliance.config.secrets import credentials, environment_keys
from appliance.domain.secret import Secret
from appliance.durable import replace_file
from appliance.errors import OperatorError

Fresh = tuple[Config, dict[str, Secret]]  # a configuration that is known to be good, and its credentials by name
DEFAULT_CONFIG = "/etc/appliance/appliance.toml"  # of every command
_MARK = b"\xef\xbb\xbf"  # what editors on Windows put in front


@dataclass(frozen=True, slots=True)
class Source:
    """What a file held when it was read.

    Attributes:
        text: its line ends as they are.
        data: the same in bytes.
    """

    text: str
    data: bytes

    @property
    def etag(self) -> str:
        """Tells this content from any other."""
        return hashlib.sha256(self.data).hexdigest()[:32]


class ConfigFile:
    """One file.

    Args:
        path: of the file; where it is a link, what that leads to is replaced.
        environment: that the server was started with.
        also: checks of rooms that know what a setting is for.
        mask: is told every credential before anybody else is.
    """

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str],
        *,
        also: Sequence[Check] = (),
        mask: Callable[[Sequence[Secret]], None] = lambda _: None,
    ) -> None:
        self.path = path
        self.mask = mask
        self._environment = environment
        self._has_keys = bool(environment_keys(environment))
        self._also = also

    def fresh(self, text: str | None = None) -> Fresh:
        """The configuration in a text, or in the file where none is given.

        Raises:
            OperatorError: it cannot be read, or it has problems; the text has one a line.
        """
        if text is None:
            text = read_text(self.path)
        config = build_config(text, self.path, has_environment_keys=self._has_keys, also=self._also)
        known = credentials(config, self._environment)
        self.mask(list(known.values()))
        return config, known

    def judge(self, text: str) -> tuple[Config | None, list[Problem]]:
        """As `load.inspect`."""
        return inspect(text, has_environment_keys=self._has_keys, also=self._also)

    def read(self) -> Source:
        """What it holds.

        Raises:
            OperatorError: it cannot be read.
        """
        try:
            data = self.path.read_bytes()
            return Source(data.removeprefix(_MARK).decode(), data)
        except OSError as error:
            raise OperatorError(f"cannot read {self.path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise OperatorError(f"cannot read {self.path}: it is not UTF-8 (byte {error.start})") from error

    def replace(self, before: Source, text: str) -> Source:
        """Put another text in the place of the one that was read, and that one into the `.bak` beside it.

        Raises:
            OperatorError: the file has changed meanwhile, or cannot be written; nothing has changed then.
        """
        mark = _MARK if before.data.startswith(_MARK) else b""
        after = Source(text, mark + text.encode())
        if self.read().data != before.data:
            raise OperatorError(f"{self.path} has been changed by somebody else meanwhile; look at it again")
        self._write(before.data, ".bak")
        self._write(after.data)
        return after

    def restore(self, before: Source) -> None:
        """Put back what was read before `replace`.

        Raises:
            OperatorError: it cannot be written.
        """
        self._write(before.data)

    def _write(self, data: bytes, suffix: str = "") -> None:
        place = self.path.resolve()
        try:
            found = place.stat()
            owner, mode = (found.st_uid, found.st_gid), found.st_mode & 0o7777
            replace_file(place.with_name(place.name + suffix), data, owner=owner, mode=mode)
        except OSError as error:
            raise OperatorError(
                f"cannot write {place}{suffix}: {error.strerror or error}. Nothing has changed. The appliance's user "
                "has to own the file and to be allowed to write its directory: see /docs/service, "
                '"Changes from afar"'
            ) from error
