"""The file of stored keys. Everything here blocks; a server calls it in a thread."""

import fcntl
import os
import secrets
import string
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appliance.config.secrets import KEYS_FILE
from appliance.durable import replace_file
from appliance.errors import OperatorError
from appliance.keystore.stored import Keys, StoredKey

_VERSION = 1
_LETTERS = string.ascii_letters + string.digits
_PATIENCE = 5.0  # seconds for somebody else to finish a change, which takes milliseconds
_LENGTH = 40  # random characters of a key: 238 bits
Signature = tuple[int, int, int] | None  # tells one content from another; None without a file


class _Content(msgspec.Struct, frozen=True):
    version: int
    keys: tuple[StoredKey, ...]


_DECODER = msgspec.json.Decoder(_Content)


def fresh_text(prefix: str) -> str:
    """The text of a new key."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def _lock(handle: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.02)


class KeyFile:
    """`keys.json` of a state directory, which need not exist."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir
        self.path = state_dir / KEYS_FILE

    def signature(self) -> Signature:
        """What is there now, without reading it."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> Keys:
        """The keys; none where there is no file.

        Raises:
            OperatorError: it cannot be read, or is not what we wrote.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise OperatorError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            content = _DECODER.decode(data)
        except ValueError as error:  # its words may repeat what is in the file
            why = "is broken" if isinstance(error, msgspec.DecodeError) else "holds what does not belong there"
            raise OperatorError(
                f"the file of stored keys {self.path} {why}. Put a good copy there, or move it away: the keys in it "
                "then open nothing"
            ) from None
        if content.version != _VERSION:
            raise OperatorError(f"{self.path} was written by another version ({content.version}) of the appliance")
        return content.keys

    def change(self, edit: Callable[[Keys], Keys]) -> Keys:
        """Replace the keys by what `edit` makes of them, while nobody else can.

        Raises:
            OperatorError: what `edit` raised, or the file cannot be read or written; nothing has changed then.
        """
        try:
            with self._alone():
                before = self.read()
                after = edit(before)
                if after != before:
                    content = msgspec.json.encode(_Content(_VERSION, after))
                    replace_file(self.path, msgspec.json.format(content, indent=1), owner=self._owner())
                return after
        except OSError as error:
            raise OperatorError(f"cannot change {self.path}: {error.strerror or error}. Nothing has changed") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._directory / f"{KEYS_FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            owner = self._owner()
            if owner is not None:
                os.fchown(handle, *owner)
            _lock(handle)
            yield
        finally:
            os.close(handle)

    def _owner(self) -> tuple[int, int] | None:
        """Root writes for whom the directory belongs to, so that the server can read it."""
        if os.geteuid() != 0:
            return None
        found = self._directory.stat()
        return found.st_uid, found.st_gid
