"""What is wrong with the guardrails of a configuration: for `appliance check`, and before anything is started."""

from collections.abc import Iterable, Iterator

from appliance.config.check import Finding, any_of, nearest
from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Config, Guardrail
from appliance.guardrails.detectors import DETECTORS
from appliance.guardrails.engines import compiled
from appliance.guardrails.prefixes import PatternError, beginnings, bounded
from appliance.guardrails.rules import Guardrails

# Which kinds a setting is for; the others would ignore it.
_OF_KIND = {
    "entities": "pii",
    "patterns": "regex",
    "words": "keywords",
    "max_chars": "max_input",
    "model": "model",
    "instructions": "model",
    "safe": "model",
    "unsafe": "model",
    "categories": "model",
    "timeout": "model",
    "on_failure": "model",
    "window": "model",
}
_NEEDED = {"regex": "patterns", "keywords": "words", "model": "model"}
_PLAIN = Guardrail(name="", kind="pii")


def findings(config: Config) -> list[Finding]:
    """Everything that is wrong with them, pattern by pattern."""
    found = [
        *_names(config),
        *(
            one
            for index, guard in enumerate(config.guardrails)
            for one in _guardrail(guard, ("guardrails", index), config)
        ),
        *_used(config),
    ]
    return found or list(_together(config))


def _together(config: Config) -> Iterator[Finding]:
    """Each may be fine by itself, and all of one model too much."""
    try:
        Guardrails(config.guardrails, config.models)
    except PatternError as error:
        what = f"`guardrails`: those of one model cannot be used together: {error}"
        yield Finding(("guardrails",), what, "use fewer words or patterns")


def _names(config: Config) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, guard in enumerate(config.guardrails):
        path: ConfigPath = ("guardrails", index, "name")
        if not guard.name or not guard.name.isascii() or not guard.name.isprintable() or "," in guard.name:
            fix = "use letters, digits and signs other than a comma"
            yield Finding(path, f"`{dotted(path)}` cannot be sent in a header, or is empty", fix)
        elif guard.name in seen:
            what = f'`{dotted(path)}`: "{guard.name}" is taken by guardrails[{seen[guard.name]}]'
            yield Finding(path, what, "rename one of them")
        seen.setdefault(guard.name, index)


def _used(config: Config) -> Iterator[Finding]:
    names = [guard.name for guard in config.guardrails]
    for index, model in enumerate(config.models):
        for place, name in enumerate(model.guardrails):
            if name not in names:
                path: ConfigPath = ("models", index, "guardrails", place)
                meant = nearest(name, names)
                fix = f"use the name of a guardrail: {any_of(names)}" if names else "add a [[guardrails]] entry"
                yield Finding(
                    path,
                    f'`{dotted(path)}`: there is no guardrail "{name}"',
                    f'did you mean "{meant}"?' if meant else fix,
                )


def _guardrail(guard: Guardrail, path: ConfigPath, config: Config) -> Iterator[Finding]:
    here = dotted(path)
    for name, kind in _OF_KIND.items():
        if guard.kind != kind and getattr(guard, name) != getattr(_PLAIN, name):
            fix = f'remove it, or write kind = "{kind}"'
            yield Finding((*path, name), f'`{here}.{name}` has a meaning for kind = "{kind}" only', fix)
    needed = _NEEDED.get(guard.kind)
    if needed and not getattr(guard, needed):
        yield Finding((*path, needed), f'`{here}.{needed}` is missing: kind = "{guard.kind}" needs it', "set it")
    if not guard.on:
        yield Finding((*path, "on"), f"`{here}.on` is empty, so nothing is checked", 'write on = ["input"]')
    if guard.kind == "max_input" and "output" in guard.on:
        yield Finding((*path, "on"), f'`{here}.on`: kind = "max_input" looks at input only', 'write on = ["input"]')
    if guard.kind in ("model", "max_input") and guard.action == "redact":
        what = f'`{here}.action`: kind = "{guard.kind}" says nothing about a place that could be replaced'
        yield Finding((*path, "action"), what, 'use "block" or "flag"')
    yield from _lists(guard, path)
    if guard.kind == "model":
        yield from _model(guard, path, config)
    if guard.kind == "max_input" and guard.max_chars <= 0:
        yield Finding((*path, "max_chars"), f"`{here}.max_chars` must be more than 0", "raise it")


def _lists(guard: Guardrail, path: ConfigPath) -> Iterator[Finding]:
    for index, name in enumerate(guard.entities):
        if name not in DETECTORS:
            spot = (*path, "entities", index)
            meant = nearest(name, DETECTORS)
            fix = f'did you mean "{meant}"?' if meant else f"use {any_of(DETECTORS)}"
            yield Finding(spot, f'`{dotted(spot)}`: "{name}" is not known', fix)
    for index, pattern in enumerate(guard.patterns):
        if why := _unusable(pattern):
            spot = (*path, "patterns", index)
            yield Finding(spot, f"`{dotted(spot)}` cannot be used: {why}", "correct it; RE2's syntax is the one to use")
    for index, word in enumerate(guard.words):
        if not word.strip():
            spot = (*path, "words", index)
            yield Finding(spot, f"`{dotted(spot)}` is empty", "remove it")


def _unusable(pattern: str) -> str:
    """Why a pattern cannot be used; "" when it can."""
    try:
        bounded(pattern)
        beginnings(pattern)
        compiled(pattern)
    except PatternError as error:
        return str(error)
    return ""


def _model(guard: Guardrail, path: ConfigPath, config: Config) -> Iterator[Finding]:
    here = dotted(path)
    for name in ("timeout", "window"):
        if getattr(guard, name) <= 0:
            yield Finding((*path, name), f"`{here}.{name}` must be more than 0", "raise it")
    for name in ("safe", "unsafe"):
        if not all(word.strip() for word in getattr(guard, name)) or not getattr(guard, name):
            yield Finding((*path, name), f"`{here}.{name}` is empty, or a word of it is", "say what the model answers")
    if _folded(guard.safe) & _folded(guard.unsafe):
        yield Finding((*path, "unsafe"), f"`{here}`: `safe` and `unsafe` have a word in common", "keep one of them")
    known = {model.name for model in config.models} | {runtime.name for runtime in config.runtimes}
    if guard.model and guard.model not in known and not config.backends:
        meant = nearest(guard.model, known)
        fix = f'did you mean "{meant}"?' if meant else "use the public name of a model of this appliance"
        yield Finding((*path, "model"), f'`{here}.model`: there is no model "{guard.model}"', fix)
    if "output" in guard.on:
        yield from _continued(guard, path, config)


def _continued(guard: Guardrail, path: ConfigPath, config: Config) -> Iterator[Finding]:
    """llama-server goes on with an answer that a conversation ends with, in place of judging it."""
    targets = {target for model in config.models if model.name == guard.model for target in model.targets}
    for runtime in config.runtimes:
        asked = runtime.name == guard.model or runtime.name in targets
        told = "--no-prefill-assistant" in runtime.args or any("PREFILL_ASSISTANT" in name for name in runtime.env)
        if asked and runtime.engine == "llama.cpp" and not told:
            what = f"`{dotted(path)}.on`: llama-server would go on with an answer that it is shown, and not judge it"
            fix = f'add "--no-prefill-assistant" to `args` of the runtime "{runtime.name}"'
            yield Finding((*path, "on"), what, fix)


def _folded(words: Iterable[str]) -> set[str]:
    return {word.strip().casefold() for word in words}
