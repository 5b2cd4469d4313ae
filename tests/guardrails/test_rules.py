import msgspec
import pytest

from appliance.config.schema import Guardrail
from appliance.guardrails.rules import Guards, guards, mistakes
from appliance.guardrails.window import Window

PII = Guardrail("pii", "pii", on=("input", "output"), action="redact")
ROWS = {
    guard.name: guard
    for guard in (
        PII,
        Guardrail("mails", "pii", entities=("email",)),
        Guardrail("words", "keywords", words=("Project  Falcon", "c++"), action="redact"),
        Guardrail("tickets", "regex", patterns=(r"TCK-\d{4}",), action="flag"),
        Guardrail("short", "max_input", max_chars=10),
        Guardrail("llama-guard", "model", model="guard", on=("input", "output")),
    )
}


def seen(guard: Guards | None, text: str) -> tuple[str, set[str]]:
    assert guard is not None
    assert guard.input is not None
    window = Window(guard.input)
    return window.feed(text) + window.finish(), {finding.guardrail for finding in window.findings}


def test_a_model_without_guardrails_has_no_guards() -> None:
    assert guards([], ROWS) is None


def test_each_side_has_its_own_checks() -> None:
    both, one = guards(["pii"], ROWS), guards(["mails"], ROWS)
    assert both is not None
    assert one is not None
    assert both.output is not None
    assert one.output is None


def test_several_guardrails_of_one_model_look_together() -> None:
    own = guards(["words", "tickets", "pii"], ROWS)
    out, names = seen(own, "project FALCON, TCK-1234 and a@b.io, use C++ ")
    assert out == "[KEYWORD], TCK-1234 and [EMAIL], use [KEYWORD] "
    assert names == {"words", "tickets", "pii"}


def test_a_keyword_is_a_whole_word() -> None:
    assert seen(guards(["words"], ROWS), "a project falcony thing")[0] == "a project falcony thing"


def test_only_the_chosen_entities_are_looked_for() -> None:
    assert seen(guards(["mails"], ROWS), "1.1.1.1 ") == ("1.1.1.1 ", set())


def test_length_and_models_are_kept_for_whoever_can_ask() -> None:
    own = guards(["short", "llama-guard"], ROWS)
    assert own is not None
    assert (own.input, own.output) == (None, None)
    assert [guard.name for guard in own.input_models] == ["llama-guard"]
    assert [guard.name for guard in own.output_models] == ["llama-guard"]
    assert own.too_long(10) == []
    assert [finding.guardrail for finding in own.too_long(11)] == ["short"]


@pytest.mark.parametrize("name", ROWS)
def test_the_examples_are_right(name: str) -> None:
    assert mistakes(ROWS[name]) == []


@pytest.mark.parametrize(
    ("guard", "setting"),
    [
        (Guardrail("g", "pii", entities=("emial",)), "entities"),
        (Guardrail("g", "regex"), "patterns"),
        (Guardrail("g", "regex", patterns=("(",)), "patterns"),
        (Guardrail("g", "regex", patterns=("a+",)), "patterns"),
        (Guardrail("g", "regex", patterns=(r"(?=a)b",)), "patterns"),
        (Guardrail("g", "keywords"), "words"),
        (Guardrail("g", "keywords", words=(" ",)), "words"),
        (Guardrail("g", "model"), "model"),
        (Guardrail("g", "model", model="m", action="redact"), "action"),
        (Guardrail("g", "max_input", action="redact"), "action"),
        (Guardrail("g", "max_input", on=("output",)), "on"),
    ],
)
def test_mistakes_are_told(guard: Guardrail, setting: str) -> None:
    assert [found[0] for found in mistakes(guard)] == [setting]


def test_a_mistake_never_repeats_a_pattern() -> None:
    secret = "(canary"
    told = mistakes(msgspec.structs.replace(PII, kind="regex", patterns=(secret,)))
    assert told
    assert "canary" not in str(told)
