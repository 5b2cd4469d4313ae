"""What may leave the machine in a support bundle: no credential, and nothing that a client has asked. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from appliance.config.masking import CREDENTIAL, MASK, effective
from appliance.config.schema import Config
from appliance.domain.secret import Secret
from appliance.observe.lines import Redactor

LEFT_OUT = "[a line that may hold a request was left out]"
_LONGEST = 400  # characters of a line; what is longer is a body, or a list of arguments
_NAMED = re.compile(
    r"""((?:api[-_]?key|token|secret|passw(?:or)?d|authorization|credential)s?["']?\s*[:=\s]\s*["']?)([^\s"',}\]]{6,})""",
    re.IGNORECASE,
)
# Engines write requests into their logs when they are told to be talkative, and when a template fails.
_REQUEST = re.compile(
    r"prompts?\b(?!_)(?! (?:eval|processing|tokens|throughput|cache))"
    r"|\"?(?:messages|content|input|instructions)\"?['\"]?\s*[:=]|\bbody\b|received request|\brequest: ?\{",
    re.IGNORECASE,
)
# Beginnings of lines that engines write by themselves; what begins otherwise may be the next line of a prompt.
_OWN_LINE = re.compile(
    r"\s*(?:\(?[A-Za-z_]+ ?(?:pid=)?\d*\)? ?)?"
    r"(?:\d{4}-\d\d-\d\d|\d+\.\d+|\[?(?:DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b|[IWED] |Traceback |File \"|"
    r"[a-z_]+: |[A-Z]\w+(?:Error|Exception|Interrupt)\b|ggml|llama|srv |slot |main:|system_info|build:|load)"
)


class Redaction:
    """Masks credentials: those that are known, and what looks like one.

    Args:
        secrets: known ones.
    """

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        self._known = Redactor(secrets)

    def __call__(self, text: str) -> str:
        """The text without them."""
        text = CREDENTIAL.sub(MASK, self._known(text))
        return _NAMED.sub(lambda found: f"{found[1]}{MASK}", text)

    def engine_log(self, lines: Iterable[str]) -> Iterator[str]:
        """An engine's lines without credentials, and without those that may hold what a client has asked."""
        left_out = False
        for line in lines:
            if _REQUEST.search(line) or not _OWN_LINE.match(line):
                if not left_out:
                    yield LEFT_OUT
                left_out = True
                continue
            left_out = False
            yield self(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")

    def state(self, value: Any) -> Any:
        """Whatever a server says about itself, whose texts may be lines of an engine's log."""
        if isinstance(value, dict):
            return {name: self.state(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.state(item) for item in value]
        if not isinstance(value, str):
            return value
        return LEFT_OUT if _REQUEST.search(value) else self(value[:_LONGEST])


def masked(config: Config) -> Any:
    """The configuration with every default, and without what could open or tell something."""
    tables = effective(config)
    for guardrail in tables["guardrails"]:
        guardrail["instructions"] = MASK if guardrail["instructions"] else ""
    return tables
