"""The dashboards that are handed out are those of the code, and show what there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from appliance.observe.metrics import Metrics
from dashboards.author.__main__ import FOLDER, PAGES
from dashboards.author.page import Page

_VARIABLE = re.compile(r"\$__(?:rate_interval|interval|range)")
_SUFFIXES = ("_bucket", "_count", "_sum")
_EVERYBODYS = {"instance", "job", "le"}
# Prometheus' own, and what is told by hand and not by a family of ours
_ALSO = {"up": set[str](), "process_cpu_seconds_total": set[str](), "process_resident_memory_bytes": set[str]()}
_ALSO |= {"process_open_fds": set(), "process_max_fds": set()}


def metrics() -> dict[str, set[str]]:
    """Every sample's name with the labels that it can have."""
    found = dict(_ALSO)
    for family in Metrics().families:
        (metric,) = family.describe()
        if metric.type == "histogram":
            found |= {metric.name + suffix: set(family.labels) for suffix in _SUFFIXES}
        else:
            found[metric.name + ("_total" if metric.type == "counter" else "")] = set(family.labels)
    return found


METRICS = metrics()


def panels(page: Page) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(page.json())["panels"] if panel["type"] != "row"]


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics that an expression asks for, with the labels that it matches."""

    def walk(node: Any) -> Iterator[Any]:
        yield node
        for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
            inner = getattr(node, name, None)
            if inner is not None:
                yield from walk(inner)
        for inner in getattr(node, "args", None) or ():
            yield from walk(inner)

    text = _VARIABLE.sub("5m", expression).replace('"$instance"', '".*"').replace('"$model"', '".*"')
    for node in walk(promql_parser.parse(text)):
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name or "", {matcher.name for matcher in node.matchers.matchers}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_handed_out_is_what_the_code_makes(page: Page) -> None:
    assert (FOLDER / f"{page.name}.json").read_text() == page.json(), "run: make dashboards"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_question_is_about_metrics_and_labels_that_there_are(page: Page) -> None:
    asked = 0
    for panel in panels(page):
        for target in panel["targets"]:
            for name, labels in selectors(target["expr"]):
                asked += 1
                assert name in METRICS, (panel["title"], name)
                assert labels <= METRICS[name] | _EVERYBODYS, (panel["title"], name, labels - METRICS[name])
                assert "instance" in labels, (panel["title"], "more than one box may be watched")
    assert asked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_panels_say_what_they_mean_and_do_not_lie_on_each_other(page: Page) -> None:
    taken: set[tuple[int, int]] = set()
    found = panels(page)
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    board = json.loads(page.json())
    assert (board.get("id"), board["uid"]) == (None, f"appliance-{page.name}")


def test_there_is_nothing_else_in_the_folder() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {page.name for page in PAGES}


def test_every_metric_of_ours_is_on_a_dashboard_or_in_a_rule() -> None:
    asked = {
        name
        for page in PAGES
        for panel in panels(page)
        for target in panel["targets"]
        for name, _ in selectors(target["expr"])
    }
    rules = (FOLDER / "rules" / "appliance.rules.yml").read_text()
    shown = {name for name in METRICS if name in asked or re.search(rf"\b{name}\b", rules)}
    families = {re.sub("_(?:bucket|count|sum)$", "", name) for name in METRICS}
    unseen = families - {re.sub("_(?:bucket|count|sum)$", "", name) for name in shown}
    assert unseen == set(), unseen


def test_every_alert_is_tested_and_has_its_place_in_the_documents() -> None:
    rules = (FOLDER / "rules" / "appliance.rules.yml").read_text()
    tests = (FOLDER / "rules" / "tests" / "appliance.test.yml").read_text()
    page = (Path(__file__).parents[2] / "appliance" / "docs" / "alerts.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) >= 20
    assert re.findall(r"- name: (\w+)\n    interval", tests) == alerts
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == alerts
    assert re.findall(r"/docs/alerts#(\w+)", rules) == [alert.lower() for alert in alerts]


def test_every_rule_asks_for_metrics_and_labels_that_there_are() -> None:
    rules = (FOLDER / "rules" / "appliance.rules.yml").read_text()
    recorded = set(re.findall(r"- record: (\S+)", rules))
    expressions = re.findall(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", rules)
    assert len(expressions) == rules.count("expr: ")
    for long, short in expressions:
        for name, labels in selectors(long or short):
            assert name in recorded or labels <= METRICS[name] | _EVERYBODYS, (name, labels)
