"""The shipped examples and the page about the configuration, held to the schema."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.config.check import is_later
from appliance.config.load import inspect
from appliance.config.schema import Config, Section
from appliance.config.units import Seconds, Size
from tests.fakes.settings import sections

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "config").glob("*.toml"))
PAGE = (ROOT / "appliance/docs/configuration.md").read_text(encoding="utf-8")
TABLES = [section for section in sections() if section is not Config]
HEADINGS = {
    "Parameters": "[parameters]",
    "KeyParameters": "[keys.parameters]",
    "Server": "[server]",
    "Tls": "[server.tls]",
    "Key": "[[keys]]",
    "Limits": "[keys.limits]",
    "Runtime": "[[runtimes]]",
    "Backend": "[[backends]]",
    "Provider": "[[providers]]",
    "Model": "[[models]]",
    "Guardrail": "[[guardrails]]",
    "Usage": "[usage]",
    "Events": "[events]",
}


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.name for file in EXAMPLES])
def test_a_shipped_example_has_no_problems_without_any_environment(file: Path) -> None:
    config, problems = inspect(file.read_text(encoding="utf-8"), has_environment_keys=False)
    assert config is not None
    assert [problem.render(file.name) for problem in problems] == []


def test_the_examples_are_the_ones_that_the_documents_name() -> None:
    assert [file.name for file in EXAMPLES if file.name in PAGE] == [file.name for file in EXAMPLES]
    assert {"appliance.toml", "minimal.toml"} <= {file.name for file in EXAMPLES}


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.name for file in EXAMPLES])
def test_the_defaults_shown_in_comments_can_be_switched_on(file: Path) -> None:
    text = re.sub(r"^# (?=[a-z_]+ = )", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    _, problems = inspect(text, has_environment_keys=False)
    assert [problem.render(file.name) for problem in problems] == []


def duration(value: float) -> str:
    for unit, seconds in (("h", 3600), ("m", 60), ("s", 1)):
        if value >= seconds and value % seconds == 0:
            return f'"{value / seconds:g}{unit}"'
    return "0" if value == 0 else f'"{value * 1000:g}ms"'


def written(value: object) -> str:
    """A default as the page shows it."""
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Seconds):
        return f"`{duration(value)}`"
    if isinstance(value, Size):
        unit, size = ("MiB", 2**20) if value % 2**20 == 0 else ("KiB", 2**10)
        return f'`"{value // size}{unit}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def row(field: msgspec.structs.FieldInfo) -> str:
    note = field.type.__metadata__[0]
    later = "*Not in this version.* " if is_later(field) else ""
    meaning = str(note.extra["doc"])
    return f"| `{field.encode_name}` | {written(default_of(field))} | {later}{meaning[0].upper()}{meaning[1:]}. |"


def rows(heading: str) -> list[str]:
    _, _, rest = PAGE.partition(f"\n## `{heading}`")
    part = rest.partition("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("section", list(dict.fromkeys(TABLES)), ids=lambda section: section.__name__)
def test_the_page_has_exactly_the_settings_of_a_section_with_their_defaults(section: type[Section]) -> None:
    assert rows(HEADINGS[section.__name__]) == [row(field) for field in msgspec.structs.fields(section)]


def test_the_page_has_no_section_that_does_not_exist() -> None:
    assert sorted(re.findall(r"^## `(.+?)`", PAGE, re.MULTILINE)) == sorted(HEADINGS.values())
    assert {HEADINGS[section.__name__] for section in TABLES} == set(HEADINGS.values())


def test_the_examples_inside_the_page_have_no_problems() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        assert inspect(block, has_environment_keys=True)[1] == []
