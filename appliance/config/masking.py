"""What of a configuration may be shown, and how a shown text gets its secrets back. Pure.

One rule for the console, `GET /ops/v1/config` and `/ops/v1/models`, `appliance models explain` and the support bundle.
A secret is

- a key's hash, a variable of an engine, and what has a name that tells of one, such as `api_key`;
- of a command line, what follows a flag with such a name, and what follows such a name in a word: `--api-key=…`,
  `HF_TOKEN=…`, `Authorization: …`, to the end of the word, since nobody knows what else is part of it;
- what looks like a credential, wherever it stands.

Names stay, so that one sees what is set. The path of a file with a secret is not one (`--api-key-file`, `key_file`):
whoever helps has to see where it is looked for. Nor are a tokenizer and a number of tokens.

A secret in settings becomes `***`, which stands for it as long as it stays where it is (`with_secrets`). One in a text
becomes `"***1***"`, the next one `"***2***"`; whoever edits the text moves them about as they like.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.config.locate import ConfigPath, dotted, spans
from appliance.config.schema import Config, Model
from appliance.errors import OperatorError

MASK = "***"
CREDENTIAL = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s\"'<>]+(?=@)"  # of a URL
    r"|(?i:(?<=bearer )|(?<=basic ))\S+"
    r"|\b(?:sk|pk|hf|gh[a-z]|github_pat|glpat|xox[a-z]|nvapi)[-_][A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"  # a JWT
    r"|(?<=sha256:)[0-9a-f]{64}",
    re.DOTALL,
)
"""What looks like a credential, in any text."""

_TELLING = re.compile(
    r"key(?!word|board|[-_]value)|token(?!iz|s|[-_]?id)|(?:api|auth|access|bearer)[-_]?tokens"
    r"|secret|passw|passphrase|credential|authorization|cookie|(?<![a-z])(?:pass|pwd|auth)$|^-hft$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"(?:file|path|dir|env)$"  # where a secret is
    r"|^tokenizer\.",  # of a model file: `--override-kv tokenizer.ggml.add_bos_token=bool:false`
    re.IGNORECASE,
)
_FLAG = re.compile(r"--?[\w.-]+")
_NAMED = re.compile(r"""(?<![\w.-])([\w.-]+)(["'\\]*\s*[:=]\s*|\s+)""")  # and what begins behind it
_LEAD = r"[\w.-]+(?:=|: ?)"  # what may stand before a mask in a word of a text
_TOKEN = re.compile(rf"""(["'])((?:{_LEAD})?)\*\*\*(\d{{1,6}})\*\*\*\1""")
_QUOTE = re.compile(r"\"\"\"\n?|'''\n?|\"|'|")
_SHOWN: set[ConfigPath] = {("server", "auth"), ("server", "key_prefix")}  # settings whose names only sound so
_MODEL: ConfigPath = ("models", 0)  # where the settings of a model are, whichever one it is
# These may look like credentials and are none: names, and what a guardrail looks for.
_PLAIN = {"name", "model", "models", "targets", "binary", "patterns", "words", "instructions"}


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
        text: of a configuration, which may have mistakes.
        known: secrets of another text, whose tokens are used for the same ones here.
    """
    secrets, tables = list(known), tomllib.loads(text)
    pieces, at = [], 0
    for path, (start, end) in sorted(spans(text).items(), key=lambda item: item[1]):
        value, before = _found(tables, path)
        if isinstance(value, dict | list) or (shown := _shown(value, path, before)) == value:
            continue
        lead, literal = _split(text[start:end], str(shown).removesuffix(MASK))
        if literal not in secrets:
            secrets.append(literal)
        pieces += [text[at:start], f'"{lead}{MASK}{secrets.index(literal) + 1}{MASK}"']
        at = end
    return Masked("".join([*pieces, text[at:]]), tuple(secrets))


def restored(text: str, secrets: Sequence[str]) -> str:
    """The text with its secrets.

    Raises:
        OperatorError: it has a token that stands for nothing.
    """

    def secret(token: re.Match[str]) -> str:
        lead, number = token[2], int(token[3])
        if not 1 <= number <= len(secrets):
            raise OperatorError(f"{token[0]} stands for no value of the file: write the value itself")
        literal = secrets[number - 1]
        if not lead:
            return literal
        opening = literal[: _QUOTE.match(literal).end()]  # type: ignore[union-attr]  # it matches nothing as well
        return f"{opening.strip()}{lead}{literal[len(opening) :]}" if opening else f'"{lead}{literal}"'

    return _TOKEN.sub(secret, text)


def effective(config: Config) -> dict[str, Any]:
    """Every setting with its value, secrets masked; durations in seconds, sizes in bytes, dates since 1970."""
    facts: dict[str, Any] = _all_shown(msgspec.to_builtins(config, enc_hook=_number), ())
    return facts


def model(entry: Model) -> dict[str, Any]:
    """Every setting of a `[[models]]` entry, secrets masked."""
    facts: dict[str, Any] = _all_shown(msgspec.to_builtins(entry, enc_hook=_number), _MODEL)
    return facts


def with_secrets(settings: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model, wanted by somebody who has seen it masked, with the secrets that were left as they were.

    Args:
        settings: by name, as TOML values.
        before: all settings of the entry as they are.

    Raises:
        OperatorError: a mask stands where it can stand for nothing that was there.
    """
    seen = _all_shown(before, _MODEL)
    found: dict[str, Any] = _unmasked(settings, _Seen(before, seen), _MODEL, anything=seen != before)
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """A value as it was, and as it was shown; None and None where nothing was."""

    was: Any = None
    shown: Any = None

    def member(self, name: str) -> "_Seen":
        """Of a table."""
        inside = isinstance(self.was, Mapping) and name in self.was
        return _Seen(self.was[name], self.shown[name]) if inside else _Seen()

    def items(self, wanted: Sequence[Any]) -> "list[_Seen]":
        """Of a list, for each item of another one: that in its place, or, in one that is longer or shorter, the only
        one that looks like it.
        """
        was = self.was if isinstance(self.was, list) else []
        if len(wanted) == len(was):
            return [_Seen(*pair) for pair in zip(was, self.shown, strict=True)]
        alone = [item if was and self.shown.count(item) == 1 else None for item in wanted]
        return [_Seen() if one is None else _Seen(was[self.shown.index(one)], one) for one in alone]


def _unmasked(wanted: Any, seen: _Seen, path: ConfigPath, *, anything: bool) -> Any:
    """See `with_secrets`; `anything`: some value was masked, so that a mask which stands for nothing is a mistake."""
    if isinstance(wanted, Mapping):
        return {
            name: _unmasked(item, seen.member(name), (*path, name), anything=anything) for name, item in wanted.items()
        }
    if isinstance(wanted, list | tuple):
        pairs = zip(wanted, seen.items(wanted), strict=True)
        return [_unmasked(item, one, (*path, at), anything=anything) for at, (item, one) in enumerate(pairs)]
    if not isinstance(wanted, str) or MASK not in wanted:
        return wanted
    if wanted == seen.shown:
        return seen.was
    if anything or _shown("any", path, "") == MASK:
        raise OperatorError(f"{MASK} in `{dotted(path[2:])}` stands for no value that is there: write the value itself")
    return wanted


def command_line(words: Sequence[str]) -> list[str]:
    """A command line without its secrets; flags and the names of variables and headers stay."""
    return [_word(word, words[index - 1] if index else "") for index, word in enumerate(words)]


def _number(value: object) -> float | int:
    """Of a duration, a date or a size."""
    return float(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]


def _found(tables: Any, path: ConfigPath) -> tuple[Any, Any]:
    """What is at a path, and what is before it in a list."""
    for step in path[:-1]:
        tables = tables[step]
    last: Any = path[-1]
    return tables[last], tables[last - 1] if isinstance(last, int) and last else ""


def _split(literal: str, lead: str) -> tuple[str, str]:
    """A value as TOML has it, as what may be shown before its mask and the rest; only where both stand on one line."""
    if re.fullmatch(_LEAD, lead) and literal[1:].startswith(lead):
        return lead, literal[0] + literal[1 + len(lead) :]
    return "", literal


def _all_shown(value: Any, path: ConfigPath, before: Any = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _all_shown(item, (*path, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        befores = ["", *value]
        return [_all_shown(item, (*path, index), befores[index]) for index, item in enumerate(value)]
    return _shown(value, path, before)


def _shown(value: Any, path: ConfigPath, before: Any) -> Any:
    """A value that is neither table nor list, as it may be shown.

    Args:
        value: as the parser has it.
        path: where it is.
        before: what is before it in a list.
    """
    names = [step for step in path if isinstance(step, str)]
    if value is None or path in _SHOWN or ("tls" in names and names[-1] == "key"):
        return value
    if "env" in names or names[-1] == "hash" or _tells(names[-1]):
        return MASK
    if names[-1] in ("args", "command"):
        return _word(value, before)
    return CREDENTIAL.sub(MASK, value) if isinstance(value, str) and names[-1] not in _PLAIN else value


def _word(word: Any, before: Any) -> Any:
    """A word of a command line, or all of one, as it may be shown."""
    if isinstance(before, str) and _FLAG.fullmatch(before) and _tells(before):
        return MASK
    if not isinstance(word, str):
        return word
    for found in _NAMED.finditer(word):
        name, sign = found.groups()
        if _tells(name) and (sign.strip() or name.startswith("-")):
            return CREDENTIAL.sub(MASK, word[: found.end()]) + MASK
    return CREDENTIAL.sub(MASK, word)


def _tells(name: str) -> bool:
    """Whether a name says that what it names is a secret."""
    return bool(_TELLING.search(name)) and not _HARMLESS.search(name)
