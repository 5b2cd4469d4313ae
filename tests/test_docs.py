"""The reference tables in the documents say what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path

import appliance
from appliance.domain.calls import KINDS, Operation
from appliance.domain.engines import ENGINES
from appliance.domain.providers import PROVIDERS
from appliance.errors import TABLE
from appliance.observe.metrics import Metrics
from appliance.supervisor.verdict import Cause
from dashboards.author import reference

ON_SITE = {name for name, engine in ENGINES.items() if not engine.cloud}
DOCS = Path(appliance.__file__).parent / "docs"


def rows(name: str, heading: str) -> Iterator[list[str]]:
    """Cells, without backticks, of the table that has this heading as its first."""
    lines = iter((DOCS / name).read_text().splitlines())
    next(line for line in lines if line.startswith(f"| {heading} |"))
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_every_error_code_is_documented_as_it_is() -> None:
    documented = {cells[0].strip("`"): cells[1:] for cells in rows("errors.md", "Code")}
    assert documented == {
        code: [str(row.status), f"`{row.type}`", f"`{row.messages_type}`", row.fault, row.meaning]
        for code, row in TABLE.items()
    }


def test_every_metric_is_documented_as_it_is() -> None:
    page = reference.PAGE.read_text()
    assert reference.renewed(page) == page, "run: make dashboards"
    families = Metrics().families
    assert len({family.describe()[0].name for family in families}) == len(families) > 70


def test_every_label_of_a_metric_has_its_values_documented() -> None:
    heads = [cells[0].partition(" of ")[0] for cells in rows("metrics.md", "Label")]
    documented = {label for head in heads for label in re.findall(r"`(\w+)`", head)}
    assert {label for family in Metrics().families for label in family.labels} == documented


def test_every_route_is_documented_with_its_kinds_and_engines() -> None:
    documented = {cells[2]: [cells[0], cells[1], cells[3], engines_of(cells[4])] for cells in rows("routes.md", "Path")}
    assert documented == {
        f"`{operation}`": [
            f"`{operation.path}`",
            ", ".join(f"`{path}`" for path in operation.aliases),
            ", ".join(f"`{kind}`" for kind, able in KINDS.items() if operation in able),
            {name for name in ON_SITE if operation in ENGINES[name].operations},
        ]
        for operation in Operation
    }


def engines_of(cell: str) -> set[str]:
    """The engines of a cell: those it lists, or all but those it lists."""
    listed = set(re.findall(r"`([^`]+)`", cell))
    return ON_SITE - listed if cell.startswith("all") else listed


def test_every_route_of_a_provider_is_documented() -> None:
    documented = {cells[0].strip("`"): cells[1:] for cells in rows("providers.md", "Route")}
    engines = [ENGINES[api.engine] for api in PROVIDERS.values()]
    assert {path: [cell != "501" for cell in cells] for path, cells in documented.items()} == {
        operation.path: [operation in engine.operations for engine in engines]
        for operation in Operation
        if any(operation in engine.operations for engine in engines)
    }


def test_every_reason_of_a_restart_is_documented() -> None:
    (listed,) = [cells[1] for cells in rows("metrics.md", "Label") if cells[0].startswith("`reason` of restarts")]
    assert set(re.findall(r"`(\w+)`", listed)) == {str(cause) for cause in Cause}
