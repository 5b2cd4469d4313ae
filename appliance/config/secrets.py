"""Credentials from the environment and from files; the only place of this room that reads either."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from appliance.config.schema import Config
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


def credentials(config: Config, environ: Mapping[str, str]) -> dict[str, Secret]:
    """Every credential that the configuration names: of backends and providers by their names, which differ, and the
    callers' own for providers as "key/provider".

    Raises:
        OperatorError: a variable or file is missing, empty, or cannot go into a header.
    """
    found: dict[str, Secret] = {}
    for noun, rows in (("backend", config.backends), ("provider", config.providers)):
        for row in rows:
            what = f'{noun} "{row.name}"'
            if row.key_env:
                found[row.name] = _from_environment(what, row.key_env, environ)
            elif row.key_file:
                found[row.name] = _from_file(what, row.key_file, "key_file")
    for key in config.keys:
        for provider, file in key.provider_keys.items():
            found[f"{key.name}/{provider}"] = _from_file(f'key "{key.name}"', file, f"provider_keys.{provider}")
    return found


def _from_environment(what: str, name: str, environ: Mapping[str, str]) -> Secret:
    source = f"environment variable {name}"
    if name not in environ:
        raise OperatorError(f"{what}: {source} is not set; set it, or remove `key_env` from its section")
    return _credential(what, source, environ[name].strip())


def _from_file(what: str, file: str, setting: str) -> Secret:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OperatorError(
            f"{what}: cannot read the key file {file} ({reason}); put the credential there, readable by the "
            f"appliance's user, or remove `{setting}` from its section"
        ) from None
    return _credential(what, f"file {file}", text.strip())


def _credential(what: str, source: str, text: str) -> Secret:
    if not text:
        raise OperatorError(f"{what}: {source} is empty; put the credential there")
    if re.search(r"[^!-~]", text):
        raise OperatorError(
            f"{what}: {source} holds spaces, several lines or characters outside ASCII; "
            "it must hold the credential and nothing else"
        )
    return Secret(text)
