"""The guardrails of a configuration, compiled for the models that use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.config.schema import Guardrail, Model
from appliance.domain.patterns import covers
from appliance.guardrails.detectors import DETECTORS, Detector
from appliance.guardrails.scanner import Rule, Scanner
from appliance.guardrails.verdict import Finding
from appliance.guardrails.words import any_word

Side = Literal["input", "output"]
AT_ONCE = 2**15  # characters that are searched in one go
_TOO_LONG = "too_long"
_MOST_NAMES = 10_000  # of models that are remembered; a client of a provider may name any


@dataclass(frozen=True, slots=True, eq=False)
class Guards:
    """What is checked for one model. Known by identity, so that others can quickly look up what they keep of it.

    Attributes:
        input: scans the texts of a request; None when nothing looks at them.
        output: scans the texts of an answer; None likewise.
        limits: guardrails with `kind = "max_input"`.
        input_models, output_models: guardrails whose model has to be asked, in order.
        inputs, outputs: the names of all guardrails of each side.
        only_flags: nothing on the input side blocks or changes a request.
        clear_below: bytes of a request that can be too long for nobody, and is quickly looked through; 0 where a model
            has to be asked about every one.
    """

    input: Scanner | None = None
    output: Scanner | None = None
    limits: tuple[Guardrail, ...] = ()
    input_models: tuple[Guardrail, ...] = ()
    output_models: tuple[Guardrail, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    only_flags: bool = False
    clear_below: int = 0

    def too_long(self, characters: int) -> list[Finding]:
        """The findings that the length of a request's text is."""
        return [
            Finding(guard.name, guard.action, _TOO_LONG, f"The text is longer than {guard.max_chars} characters")
            for guard in self.limits
            if characters > guard.max_chars
        ]


class Guardrails:
    """The guards of every model of one configuration.

    Raises:
        PatternError: a pattern cannot be used; `check.findings` would have told.
    """

    def __init__(self, configured: Sequence[Guardrail] = (), models: Sequence[Model] = ()) -> None:
        self._configured = {guard.name: guard for guard in configured}
        self._named = {model.name: model.guardrails for model in models if model.guardrails}
        self._wide = [guard for guard in configured if guard.models]
        self._compiled: dict[tuple[str, ...], Guards | None] = {}
        self._known: dict[str, Guards | None] = {}
        for name in self._named:
            self.of(name)
        self._compile(tuple(guard.name for guard in self._wide))

    def of(self, model: str) -> Guards | None:
        """The guards of a model by its public name; None when it has none, so that nothing looks at its texts."""
        if not self._configured:
            return None
        try:
            return self._known[model]
        except KeyError:
            if len(self._known) >= _MOST_NAMES:
                self._known.clear()
            wide = {guard.name for guard in self._wide if any(covers(pattern, model) for pattern in guard.models)}
            wanted = wide.union(self._named.get(model, ()))
            found = self._known[model] = self._compile(tuple(name for name in self._configured if name in wanted))
            return found

    def _compile(self, names: tuple[str, ...]) -> Guards | None:
        if names not in self._compiled:
            self._compiled[names] = guards(names, self._configured)
        return self._compiled[names]


def guards(names: Sequence[str], configured: Mapping[str, Guardrail]) -> Guards | None:
    """The guards for a list of guardrails; None when it is empty.

    Args:
        names: all of them configured.
        configured: by name.

    Raises:
        PatternError: as `Guardrails`.
    """
    own = [configured[name] for name in names]
    if not own:
        return None
    models = [guard for guard in own if guard.kind == "model"]
    asked = tuple(guard for guard in models if "input" in guard.on)
    lengths = tuple(guard for guard in own if guard.kind == "max_input")
    of_input, of_output = _rules(own, "input"), _rules(own, "output")
    asking = _scanner(of_input)
    return Guards(
        asking,
        asking if of_output == of_input else _scanner(of_output),
        lengths,
        asked,
        tuple(guard for guard in models if "output" in guard.on),
        tuple(guard.name for guard in own if "input" in guard.on),
        tuple(guard.name for guard in own if "output" in guard.on),
        all(guard.action == "flag" for guard in own if "input" in guard.on),
        0 if asked else min([AT_ONCE, *(guard.max_chars for guard in lengths)]),
    )


def _rules(own: Sequence[Guardrail], side: Side) -> list[Rule]:
    return [
        Rule(guard.name, guard.action, detector) for guard in own if side in guard.on for detector in _detectors(guard)
    ]


def _scanner(rules: Sequence[Rule]) -> Scanner | None:
    return Scanner(rules) if rules else None


def _detectors(guard: Guardrail) -> list[Detector]:
    if guard.kind == "pii":
        return [DETECTORS[name] for name in guard.entities or DETECTORS]
    if guard.kind == "regex":
        return [Detector("pattern", pattern, message="Pattern matched") for pattern in guard.patterns]
    if guard.kind == "keywords":
        return [Detector("keyword", any_word(guard.words), message="Keyword found")]
    return []
