import pytest

from appliance.config.load import inspect
from appliance.guardrails.check import findings

HEAD = """[[runtimes]]
name = "m"
engine = "command"
command = ["x", "{port}"]
[[models]]
name = "public"
targets = ["m"]
"""
G = '[[guardrails]]\nname = "g"\n'


def problems(text: str) -> list[tuple[str, int, str]]:
    _, found = inspect(text, has_environment_keys=True, also=(findings,))
    return [
        (
            str(problem.path[-1] if isinstance(problem.path[-1], str) else problem.path[-2]),
            problem.line,
            problem.what + problem.fix,
        )
        for problem in found
    ]


@pytest.mark.parametrize(
    ("lines", "setting"),
    [
        ('kind = "pii"\nentities = ["email", "emial"]', "entities"),
        ('kind = "regex"', "patterns"),
        ('kind = "regex"\npatterns = ["("]', "patterns"),
        ('kind = "regex"\npatterns = ["a+"]', "patterns"),
        ('kind = "regex"\npatterns = ["(?=a)b"]', "patterns"),
        ('kind = "regex"\npatterns = ["a?"]', "patterns"),
        ('kind = "keywords"', "words"),
        ('kind = "keywords"\nwords = ["a", " "]', "words"),
        ('kind = "model"', "model"),
        ('kind = "model"\nmodel = "publik"', "model"),
        ('kind = "model"\nmodel = "m"\naction = "redact"', "action"),
        ('kind = "model"\nmodel = "m"\ntimeout = 0', "timeout"),
        ('kind = "model"\nmodel = "m"\nwindow = 0', "window"),
        ('kind = "model"\nmodel = "m"\nsafe = []', "safe"),
        ('kind = "model"\nmodel = "m"\nsafe = ["Yes"]\nunsafe = ["yes"]', "unsafe"),
        ('kind = "max_input"\naction = "redact"', "action"),
        ('kind = "max_input"\non = ["output"]', "on"),
        ('kind = "max_input"\nmax_chars = 0', "max_chars"),
        ('kind = "pii"\non = []', "on"),
        ('kind = "pii"\nwords = ["x"]', "words"),
        ('kind = "keywords"\nwords = ["x"]\ntimeout = "3s"', "timeout"),
    ],
)
def test_mistakes_are_told_with_their_line(lines: str, setting: str) -> None:
    text = HEAD + G + lines
    ((found, line, _),) = problems(text)
    assert found == setting
    own = [number for number, written in enumerate(text.splitlines(), 1) if written.startswith(f"{setting} =")]
    assert line == (own[-1] if own else text.splitlines().index("[[guardrails]]") + 1)


@pytest.mark.parametrize(
    "lines",
    [
        'kind = "pii"\non = ["input", "output"]\naction = "redact"\nmodels = ["*"]',
        'kind = "regex"\npatterns = ["TCK-[0-9]{4}"]\naction = "flag"',
        'kind = "keywords"\nwords = ["Project Falcon"]',
        'kind = "model"\nmodel = "public"\ncategories = { S1 = "violence" }\non_failure = "allow"',
        'kind = "max_input"\nmax_chars = 10',
    ],
)
def test_what_is_right_is_not_told(lines: str) -> None:
    assert problems(HEAD.replace('["m"]', '["m"]\nguardrails = ["g"]') + G + lines) == []


def test_names_are_unique_and_those_that_models_use_exist() -> None:
    text = HEAD.replace('["m"]', '["m"]\nguardrails = ["g", "h"]') + (G + 'kind = "pii"\n') * 2
    assert [found for found, _, _ in problems(text)] == ["guardrails", "name"]
    assert "there is no guardrail" in problems(text)[0][2]
    assert [found for found, _, _ in problems(HEAD + '[[guardrails]]\nname = "a,b"\nkind = "pii"')] == ["name"]


def test_the_guard_model_may_be_one_that_only_a_backend_lists() -> None:
    backend = '[[backends]]\nname = "b"\nengine = "vllm"\nurl = "http://box:1"\n'
    assert problems(HEAD + backend + G + 'kind = "model"\nmodel = "listed"') == []


@pytest.mark.parametrize("target", ["guard", "judge"])
@pytest.mark.parametrize(
    "told", ['args = ["--no-prefill-assistant"]', 'env = { LLAMA_ARG_PREFILL_ASSISTANT = "false" }', ""]
)
def test_a_llama_server_that_judges_answers_is_told_not_to_go_on_with_them(target: str, told: str) -> None:
    guard = f'[[runtimes]]\nname = "guard"\nengine = "llama.cpp"\nmodel = "/m.gguf"\n{told}\n'
    judge = '[[models]]\nname = "judge"\ntargets = ["guard"]\n'
    kind = f'kind = "model"\nmodel = "{target}"\non = '
    wrong = problems(f'{HEAD}{guard}{judge}{G}{kind}["output"]')
    assert [setting for setting, _, _ in wrong] == ([] if told else ["on"])
    assert all('"--no-prefill-assistant" to `args` of the runtime "guard"' in words for _, _, words in wrong)
    assert problems(f'{HEAD}{guard}{judge}{G}{kind}["input"]') == []


def test_a_mistake_never_repeats_a_pattern() -> None:
    ((_, _, told),) = problems(HEAD + G + 'kind = "regex"\npatterns = ["(canary"]')
    assert "canary" not in told


def test_what_is_too_much_for_one_model_is_told() -> None:
    words = ", ".join(f'"{"ab" * times}"' for times in range(1, 500))
    ((setting, _, told),) = problems(f'{HEAD}guardrails = ["g"]\n{G}kind = "keywords"\nwords = [{words}]')
    assert setting == "guardrails"
    assert "begin alike" in told


def test_a_pattern_may_be_as_long_as_its_matches_may_be() -> None:
    assert problems(f'{HEAD}guardrails = ["g"]\n{G}kind = "regex"\npatterns = ["{"ab" * 2048}"]') == []
