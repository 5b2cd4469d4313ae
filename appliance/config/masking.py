"""What of a configuration may be shown, and how a shown text gets its secrets back. Pure.

A secret in a text becomes `"***1***"`, the next one `"***2***"`; whoever edits the text moves them about as they like.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.config.locate import spans
from appliance.config.schema import Config
from appliance.errors import OperatorError

MASK = "***"
_TOKEN = re.compile(r'"\*\*\*(\d{1,6})\*\*\*"')
_TELLING = re.compile(r"--?(?:.*[-_])?(?:key|token|secret|password)", re.IGNORECASE)  # a flag whose value is one


@dataclass(frozen=True, slots=True)
class Masked:
    """A text without its secrets.

    Attributes:
        text: with a token for each.
        secrets: what stands for the tokens, in their order: values as they are written in TOML.
    """

    text: str
    secrets: tuple[str, ...]


def masked(text: str, known: Sequence[str] = ()) -> Masked:
    """A text that `tomllib` accepts, without its secrets.

    Args:
        text: of a configuration.
        known: secrets of another text, whose tokens are used for the same ones here.
    """
    secrets = list(known)
    pieces, at = [], 0
    for start, end in sorted(_secret_spans(text)):
        literal = text[start:end]
        if literal not in secrets:
            secrets.append(literal)
        pieces += [text[at:start], f'"{MASK}{secrets.index(literal) + 1}{MASK}"']
        at = end
    return Masked("".join([*pieces, text[at:]]), tuple(secrets))


def restored(text: str, secrets: Sequence[str]) -> str:
    """The text with its secrets.

    Raises:
        OperatorError: it has a token that stands for nothing.
    """

    def secret(token: re.Match[str]) -> str:
        number = int(token[1])
        if not 1 <= number <= len(secrets):
            raise OperatorError(f"{token[0]} stands for no value of the file: write the value itself")
        return secrets[number - 1]

    return _TOKEN.sub(secret, text)


def effective(config: Config) -> dict[str, Any]:
    """Every setting with its value, secrets masked; durations in seconds, sizes in bytes."""
    facts: dict[str, Any] = msgspec.to_builtins(config, enc_hook=_number)
    for key in facts["keys"]:
        key["hash"] = MASK
    for runtime in facts["runtimes"]:
        runtime["env"] = dict.fromkeys(runtime["env"], MASK)
        for name in ("args", "command"):
            secret = _secret_words(runtime[name])
            runtime[name] = [MASK if index in secret else word for index, word in enumerate(runtime[name])]
    return facts


def _number(value: object) -> float | int:
    """Of a duration, a date or a size."""
    return float(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]


def _secret_spans(text: str) -> Iterator[tuple[int, int]]:
    runtimes = tomllib.loads(text).get("runtimes", [])
    for path, span in spans(text).items():
        match path:
            case ("keys", int(), "hash") | ("runtimes", int(), "env", str()):
                yield span
            case ("runtimes", int(row), "args" | "command" as name, int(index)):
                if index in _secret_words(runtimes[row][name]):
                    yield span


def _secret_words(words: Sequence[object]) -> set[int]:
    """Which words of a command line hold a secret: `--api-key=…`, or what follows `--api-key`."""
    found = set()
    for index, word in enumerate(words):
        flag, equals, _ = str(word).partition("=")
        if _TELLING.fullmatch(flag):
            found.add(index if equals else index + 1)
    return found
