"""The table of all metrics in `appliance/docs/metrics.md`, from the code."""

from pathlib import Path

import appliance
from appliance.observe.metrics import Metrics

PAGE = Path(appliance.__file__).parent / "docs" / "metrics.md"
_HEAD = "| Metric | Kind | Labels | Meaning |\n| --- | --- | --- | --- |\n"


def table() -> str:
    """Its rows, in the order in which the page of metrics tells them."""
    rows = []
    for family in Metrics().families:
        (metric,) = family.describe()
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |\n".replace("|  |", "| |"))
    return _HEAD + "".join(rows)


def renewed(page: str) -> str:
    """The document with the table as it is now.

    Raises:
        ValueError: it has no such table.
    """
    start = page.index(_HEAD)
    end = page.index("\n\n", start) + 1
    return page[:start] + table() + page[end:]
