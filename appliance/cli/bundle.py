"""`appliance doctor --bundle FILE`: everything about this appliance in one file that may be sent away."""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.cli import reach
from appliance.config.load import parse, read_text
from appliance.config.schema import Config
from appliance.config.secrets import credentials, environment_keys, process_environment
from appliance.diagnosis.bundle import log_parts, own_parts, packed, system_parts
from appliance.diagnosis.redaction import Redaction
from appliance.domain.secret import Secret
from appliance.errors import OperatorError
from appliance.supervisor.state_dir import LOGS, RUN

_SILENCE = 10.0  # seconds that a server may take for an answer


def write_bundle(target: Path, config_file: Path, findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the bundle; the names of what is in it.

    Args:
        target: a new file, which only its owner may read.
        config_file: of the server.
        findings: of every check.

    Raises:
        OperatorError: the file is there already, or cannot be written.
    """
    config = _config(config_file)
    state_dir = Path((config or Config()).server.state_dir)
    redaction = Redaction(_secrets(config, state_dir))
    state, metrics = _server(config_file, state_dir)
    parts = own_parts(__version__, config, findings, state, metrics, redaction)
    parts |= system_parts(redaction) | log_parts(state_dir / LOGS, redaction)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(packed(parts, time.clock_gettime(time.CLOCK_REALTIME)))
    except OSError as error:
        raise OperatorError(f"cannot write {target}: {error.strerror}; name another file") from error
    return sorted(parts)


def _config(file: Path) -> Config | None:
    with suppress(OperatorError):
        config, problems = parse(read_text(file))
        return None if problems else config
    return None


def _secrets(config: Config | None, state_dir: Path) -> list[Secret]:
    """Every secret that we can know of: given to us, named by the configuration, or made for engines."""
    environ = process_environment()
    found = list(environment_keys(environ))
    if config is not None:
        with suppress(OperatorError):  # a missing one is told by `check`, and cannot leak
            found += credentials(config, environ).values()
        found += [Secret(value) for runtime in config.runtimes for value in runtime.env.values()]
    for file in (state_dir / RUN).glob("*.key"):
        with suppress(OSError):
            found.append(Secret(file.read_text("ascii", "replace").strip()))
    return found


def _server(config_file: Path, state_dir: Path) -> tuple[dict[str, Any] | None, str]:
    """The state and the metrics of the server of a state directory; none where none runs, or it does not answer."""
    args = argparse.Namespace(config=str(config_file), state_dir=state_dir, url=None, key_file=None)
    with suppress(OperatorError):
        with reach.asked(args, "GET", "/ops/v1/state", silence=_SILENCE) as reply:
            state = reach.answered(reply)
        with reach.asked(args, "GET", "/metrics", silence=_SILENCE) as reply:
            return state, reply.read().decode("utf-8", "replace")
    return None, ""
