"""The reference tables in the documents say what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

import appliance
from appliance.errors import TABLE
from appliance.observe.metrics import Metrics

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


def test_every_metric_is_documented_with_its_kind_and_labels() -> None:
    documented = {
        cells[0].strip("`"): (cells[1], re.findall(r"`(\w+)`", cells[2])) for cells in rows("metrics.md", "Metric")
    }
    registry = CollectorRegistry()
    Metrics(registry)
    defined: list[Any] = [family for family in registry._collector_to_names if hasattr(family, "_labelnames")]
    families = {
        family._name + ("_total" if family._type == "counter" else ""): (family._type, list(family._labelnames))
        for family in defined
    }
    assert documented == families
