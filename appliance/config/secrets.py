"""Credentials from the environment and from files; the only place of this room that reads either."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from appliance.config.schema import Backend
from appliance.domain.secret import Secret
from appliance.errors import OperatorError

KEYS_FILE = "keys.json"  # of the state directory: keys that are not in the configuration


def has_stored_keys(state_dir: str) -> bool:
    """Whether keys were ever stored in a state directory; true also where we may not look.

    From the first stored key on a server asks for keys, even when all of them have ended.
    """
    try:
        (Path(state_dir) / KEYS_FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def process_environment() -> Mapping[str, str]:
    """The environment that the appliance was started with."""
    return os.environ  # noqa: TID251 - the one place; everything else takes a mapping


def environment_keys(environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """The client keys of API_KEYS="k1,k2"; blank entries do not count, a repeated one counts once."""
    entries = (entry.strip() for entry in environ.get("API_KEYS", "").split(","))
    return tuple(Secret(entry) for entry in dict.fromkeys(entries) if entry)


def backend_credential(backend: Backend, environ: Mapping[str, str]) -> Secret | None:
    """The credential that a backend wants; None when its section names none.

    Raises:
        OperatorError: the variable or file that it names is missing, empty, or cannot go into a header.
    """
    if backend.key_env:
        source = f"environment variable {backend.key_env}"
        if backend.key_env not in environ:
            raise OperatorError(
                f'backend "{backend.name}": {source} is not set; set it, or remove `key_env` from its section'
            )
        text = environ[backend.key_env]
    elif backend.key_file:
        source = f"file {backend.key_file}"
        text = _read(backend)
    else:
        return None
    return _credential(backend, source, text.strip())


def _read(backend: Backend) -> str:
    try:
        return Path(backend.key_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OperatorError(
            f'backend "{backend.name}": cannot read the key file {backend.key_file} ({reason}); '
            "put the credential there, readable by the appliance's user, or remove `key_file` from its section"
        ) from None


def _credential(backend: Backend, source: str, text: str) -> Secret:
    if not text:
        raise OperatorError(f'backend "{backend.name}": {source} is empty; put the credential there')
    if re.search(r"[^!-~]", text):
        raise OperatorError(
            f'backend "{backend.name}": {source} holds spaces, several lines or characters outside ASCII; '
            "it must hold the credential and nothing else"
        )
    return Secret(text)
