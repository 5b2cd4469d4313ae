"""The guardrails of a configuration, compiled for the models that use them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.config.schema import Guardrail
from appliance.guardrails.detectors import DETECTORS, Detector
from appliance.guardrails.prefixes import PatternError, beginnings, bounded
from appliance.guardrails.scanner import Rule, Scanner, compiled
from appliance.guardrails.verdict import Finding

Side = Literal["input", "output"]
_TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Guards:
    """What is checked for one model.

    Attributes:
        input: scans the texts of a request; None when nothing looks at them.
        output: scans the texts of an answer; None likewise.
        limits: guardrails with `kind = "max_input"`.
        input_models, output_models: guardrails whose model has to be asked, in order.
    """

    input: Scanner | None = None
    output: Scanner | None = None
    limits: tuple[Guardrail, ...] = ()
    input_models: tuple[Guardrail, ...] = ()
    output_models: tuple[Guardrail, ...] = ()

    def too_long(self, characters: int) -> list[Finding]:
        """The findings that the length of a request's text is."""
        return [
            Finding(guard.name, guard.action, _TOO_LONG, f"The text is longer than {guard.max_chars} characters")
            for guard in self.limits
            if characters > guard.max_chars
        ]


def guards(names: Sequence[str], configured: Mapping[str, Guardrail]) -> Guards | None:
    """The guards of a model; None when it has none, so that nothing looks at its texts.

    Args:
        names: the model's `guardrails`, all of them configured.
        configured: by name.

    Raises:
        PatternError: `mistakes` would have told.
    """
    own = [configured[name] for name in names]
    if not own:
        return None
    return Guards(
        _scanner(own, "input"),
        _scanner(own, "output"),
        tuple(guard for guard in own if guard.kind == "max_input"),
        tuple(guard for guard in own if guard.kind == "model" and "input" in guard.on),
        tuple(guard for guard in own if guard.kind == "model" and "output" in guard.on),
    )


def mistakes(guard: Guardrail) -> list[tuple[str, str, str]]:
    """What is wrong with one guardrail: the setting, what is wrong, and what to do."""
    found = []
    if guard.kind == "pii":
        found += [
            ("entities", f'"{name}" is not known', f"use {', '.join(DETECTORS)}")
            for name in guard.entities
            if name not in DETECTORS
        ]
    if guard.kind == "regex":
        found += [("patterns", f"a pattern cannot be used: {why}", "correct it") for why in _unusable(guard.patterns)]
    needed = {
        "regex": ("patterns", guard.patterns),
        "keywords": ("words", guard.words),
        "model": ("model", guard.model),
    }
    if guard.kind in needed and not needed[guard.kind][1]:
        name = needed[guard.kind][0]
        found.append((name, f'kind = "{guard.kind}" needs `{name}`', f"set `{name}`"))
    if guard.kind == "keywords" and not all(word.strip() for word in guard.words):
        found.append(("words", "a word is empty", "remove it"))
    if guard.kind in ("model", "max_input") and guard.action == "redact":
        found.append(("action", f'kind = "{guard.kind}" cannot redact', 'use "block" or "flag"'))
    if guard.kind == "max_input" and "output" in guard.on:
        found.append(("on", 'kind = "max_input" looks at input only', 'use on = ["input"]'))
    return found


def _unusable(patterns: Iterable[str]) -> list[str]:
    reasons = []
    for pattern in patterns:
        try:
            bounded(pattern)
            beginnings(pattern)
            compiled(pattern)
        except PatternError as error:
            reasons.append(str(error))
    return reasons


def _scanner(own: Sequence[Guardrail], side: Side) -> Scanner | None:
    rules = [
        Rule(guard.name, guard.action, detector) for guard in own if side in guard.on for detector in _detectors(guard)
    ]
    return Scanner(rules) if rules else None


def _detectors(guard: Guardrail) -> list[Detector]:
    if guard.kind == "pii":
        return [DETECTORS[name] for name in guard.entities or DETECTORS]
    if guard.kind == "regex":
        return [Detector("pattern", pattern, message="Pattern matched") for pattern in guard.patterns]
    if guard.kind == "keywords":
        return [Detector("keyword", _word(word.strip()), message="Keyword found") for word in guard.words]
    return []


def _word(word: str) -> str:
    """Any case, any space between its parts; whole words only where it begins and ends with a letter or digit."""
    inner = r"\s{1,8}".join(re.escape(part) for part in word.split())
    front, back = (r"\b" if re.match(r"[A-Za-z0-9_]", end) else "" for end in (word[0], word[-1]))
    return f"(?i:{front}{inner}{back})"
