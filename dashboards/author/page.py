"""A dashboard: rows of panels, laid out from left to right, with the variables that every one of ours has."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.author.panels import SOURCE, WHOLE, Panel

RATE = "$__rate_interval"
OURS = 'instance=~"$instance"'  # in every selector: more than one box may be watched
MODEL = 'model=~"$model"'
GEN_AI = 'gen_ai_request_model=~"$model"'


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard.

    Attributes:
        name: of its file, and of its uid after "appliance-".
        by_model: it has the variable `model`.
    """

    name: str
    title: str
    about: str
    rows: Sequence[Row]
    by_model: bool = False

    def json(self) -> str:
        """The text of the file."""
        made = dashboard.Dashboard(self.title).uid(f"appliance-{self.name}").description(self.about)
        made.tags(["appliance"]).editable().refresh("30s").time("now-1h", "now").timezone("browser")
        made.tooltip(models.DashboardCursorSync.CROSSHAIR)
        link = dashboard.DashboardLink("Appliance").type(models.DashboardLinkType.DASHBOARDS).tags(["appliance"])
        made.link(link.as_dropdown(True).keep_time(True).include_vars(True))
        made.with_variable(dashboard.DatasourceVariable("DS_PROMETHEUS").label("Prometheus").type("prometheus"))
        made.with_variable(_choice("instance", "Box", "label_values(appliance_build_info, instance)"))
        if self.by_model:
            made.with_variable(_choice("model", "Model", "label_values(appliance_requests_total, model)"))
        top, number = 0, 0
        for row in self.rows:
            number += 1
            heading = dashboard.Row(row.title).id(number).grid_pos(models.GridPos(x=0, y=top, w=WHOLE, h=1))
            made.with_row(heading)
            top += 1
            left, height = 0, 0
            for panel in row.panels:
                if left + panel.width > WHOLE:
                    left, top, height = 0, top + height, 0
                number += 1
                made.with_panel(panel.build(number, (left, top)))
                left, height = left + panel.width, max(height, panel.height)
            top += height
        return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE).multi(True).include_all(True)
    return (
        made.all_value(".*")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
