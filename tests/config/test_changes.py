import math
from typing import Any

import pytest

from appliance.config.changes import mistakes_in_changes
from appliance.config.load import inspect
from appliance.config.schema import Model
from appliance.domain.calls import DECIDING


def mistakes(**fields: Any) -> list[tuple[Any, str, str]]:
    return list(mistakes_in_changes(Model(name="m", targets=("r",), **fields), "models[0]"))


def test_ordinary_fields_may_be_changed() -> None:
    fields = {"temperature": 0.5, "n": 1, "stop": ["x"], "chat_template_kwargs": {"a": {"b": True}}}
    assert mistakes(defaults=fields, stripped=("user",)) == mistakes(forced=fields) == []


@pytest.mark.parametrize("name", sorted(DECIDING))
def test_what_decides_which_answer_is_given_may_not(name: str) -> None:
    for found in (mistakes(defaults={name: 1}), mistakes(forced={name: 1}), mistakes(stripped=(name,))):
        assert "cannot be changed" in found[0][1]


def test_what_is_forced_needs_no_default() -> None:
    ((path, what, _),) = mistakes(defaults={"x": 1}, forced={"x": 2})
    assert (path, "by `forced` anyway" in what) == (("defaults", "x"), True)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), [math.inf], {"a": object()}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    assert "JSON" in mistakes(forced={"x": value})[0][1]


def test_the_file_says_where() -> None:
    text = (
        '[[runtimes]]\nname = "r"\nengine = "llama.cpp"\nmodel = "/m"\n'
        '[[models]]\nname = "m"\ntargets = ["r"]\nforced = { when = 2026-01-01 }\nstripped = ["a", "model"]\ndefaults = 5\n'
    )
    _, problems = inspect(text, has_environment_keys=True)
    assert [problem.line for problem in problems] == [8, 9, 10]
    assert problems[-1].what == "`models[0].defaults` must be a table of names and values, not a whole number"
