"""How a panel of ours looks: a graph, a number, a table, a line of states."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal, cast

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as queries

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${DS_PROMETHEUS}")
Kind = Literal["graph", "stack", "number", "table", "states"]
WHOLE = 24  # columns of a page


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and the name of what it gives, with {{labels}} in it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        about: what it means and what to do about it, for the "i" in its corner.
        unit: of Grafana's: "s", "reqps", "percentunit", "bytes", "short" …
        width: in columns, of 24.
        limits: values from which on it is amber and red.
        exemplars: show single observations, where Prometheus keeps them.
    """

    title: str
    about: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "graph"
    width: int = 8
    height: int = 8
    limits: tuple[float, float] | None = None
    names: dict[str, str] = field(default_factory=dict)  # of a table's columns
    hidden: Sequence[str] = ()
    exemplars: bool = False

    def build(self, number: int, at: tuple[int, int]) -> Builder[models.Panel]:
        """The panel with its number on the page, at a column and a row."""
        made: Any = _BUILDERS[self.kind](self)  # all of them have what is called here; the SDK has no name for that
        made.title(self.title).description(self.about).datasource(SOURCE).unit(self.unit)
        made.id(number).grid_pos(models.GridPos(x=at[0], y=at[1], w=self.width, h=self.height))
        if self.limits is not None:
            amber, red = self.limits
            steps = [("green", None), ("orange", amber), ("red", red)]
            if red < amber:  # less is worse
                steps = [("red", None), ("orange", red), ("green", amber)]
            thresholds = [models.Threshold(value=value, color=color) for color, value in steps]
            made.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds))
        for letter, query in zip(ascii_uppercase, self.queries, strict=False):
            made.with_target(_target(self, query, letter))
        return cast("Builder[models.Panel]", made)


def _target(panel: Panel, query: Query, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).legend_format(query.legend or "__auto")
    if panel.kind == "table":
        return target.instant().format(queries.PromQueryFormat.TABLE)
    if panel.exemplars:
        target.exemplar(True)
    return target.instant() if panel.kind == "number" else target.range()


def _graph(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM)
    legend.display_mode(looks.LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
    made = timeseries.Panel().legend(legend).tooltip(tooltip).min(0).line_width(1).fill_opacity(8)
    made.show_points(looks.VisibilityMode.NEVER)
    if panel.kind == "stack":
        made.fill_opacity(40).stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    return made


def _number(panel: Panel) -> stat.Panel:
    options = common.ReduceDataOptions().calcs(["lastNotNull"])
    made = stat.Panel().reduce_options(options).graph_mode(looks.BigValueGraphMode.NONE)
    return made.color_mode(looks.BigValueColorMode.VALUE if panel.limits else looks.BigValueColorMode.NONE)


def _table(panel: Panel) -> table.Panel:
    hidden = dict.fromkeys(("Time", "__name__", "instance", "job", *panel.hidden), True)
    made = table.Panel().with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    rename = {"excludeByName": hidden, "renameByName": panel.names}
    return made.with_transformation(models.DataTransformerConfig(id_val="organize", options=rename))


def _states(_: Panel) -> statetimeline.Panel:
    return statetimeline.Panel().merge_values(True).show_value(looks.VisibilityMode.NEVER).row_height(0.8)


_BUILDERS = {"graph": _graph, "stack": _graph, "number": _number, "table": _table, "states": _states}
