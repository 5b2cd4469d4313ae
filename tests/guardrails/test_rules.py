from appliance.config.schema import Guardrail, Model
from appliance.guardrails.rules import Guardrails, Guards, guards
from appliance.guardrails.window import Window

PII = Guardrail(name="pii", kind="pii", on=("input", "output"), action="redact")
ROWS = {
    guard.name: guard
    for guard in (
        PII,
        Guardrail(name="mails", kind="pii", entities=("email",)),
        Guardrail(name="words", kind="keywords", words=("Project  Falcon", "c++"), action="redact"),
        Guardrail(name="tickets", kind="regex", patterns=(r"TCK-\d{4}",), action="flag"),
        Guardrail(name="short", kind="max_input", max_chars=10),
        Guardrail(name="llama-guard", kind="model", model="guard", on=("input", "output")),
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
    assert (both.inputs, both.outputs, one.outputs) == (("pii",), ("pii",), ())


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


def test_a_guardrail_may_be_for_models_that_do_not_name_it() -> None:
    wide = Guardrail(name="everywhere", kind="keywords", words=("Falcon",), models=("*",))
    some = Guardrail(name="some", kind="regex", patterns=("x{3}",), models=("qwen*", "m[1]"))
    named = Guardrail(name="named", kind="max_input")
    models = [Model(name="qwen-7b", targets=("r",), guardrails=("named",)), Model(name="other", targets=("r",))]
    all_of = Guardrails([some, named, wide], models)
    names = {name: getattr(all_of.of(name), "inputs", None) for name in ("qwen-7b", "other", "m[1]", "m1")}
    assert names == {
        "qwen-7b": ("some", "named", "everywhere"),
        "other": ("everywhere",),
        "m[1]": ("some", "everywhere"),
        "m1": ("everywhere",),
    }
    assert all_of.of("other") is all_of.of("m1")  # compiled once


def test_what_is_known_of_made_up_names_is_bounded() -> None:
    wide = Guardrails([Guardrail(name="some", kind="keywords", words=("a",), models=("x*",))])
    for number in range(20_500):
        assert wide.of(f"name-{number}") is None
    assert len(wide._known) <= 10_000
    assert wide.of("x-1") is not None


def test_without_any_guardrail_no_model_has_one() -> None:
    assert Guardrails().of("m") is None
