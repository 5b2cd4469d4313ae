"""Is it up, is it fast, what broke."""

from typing import Any

from dashboards.author.page import OURS, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import now, quantile, rate
from dashboards.author.shapes import circuits, failed_attempts, levels, rates, rises

_DURATION = "gen_ai_server_request_duration_seconds"
_FIRST = "gen_ai_server_time_to_first_token_seconds"
_OURS_AND_ENGINES = 'error_type!="", error_type!="client_gone"'


def _number(title: str, about: str, *queries: Query, **look: Any) -> Panel:
    return Panel(title, about, queries, kind="number", width=4, height=5, **look)


_NOW = Row(
    "Now",
    [
        _number(
            "Models ready",
            "Models that can be asked now, of all that there are. Fewer is normal for models that start on demand.",
            Query(now("appliance_model_ready", ""), "ready"),
            Query(f"count (appliance_model_ready{{{OURS}}})", "of"),
        ),
        _number(
            "Requests", "Exchanges a second, all models.", Query(rate("appliance_requests_total", "")), unit="reqps"
        ),
        _number(
            "Failed",
            "Share of exchanges that ended with an error of ours or of an engine. Clients that left do not count.",
            Query(
                f"{rate(f'{_DURATION}_count', '', _OURS_AND_ENGINES)} / {rate(f'{_DURATION}_count', '')} or vector(0)"
            ),
            unit="percentunit",
            limits=(0.01, 0.05),
        ),
        _number(
            "First token, p95",
            "From the request to the first streamed content, as clients see it.",
            Query(quantile(0.95, _FIRST)),
            unit="s",
            limits=(2, 5),
        ),
        _number(
            "Tokens generated",
            "Output tokens a second, as the engines count them.",
            Query(rate("appliance_tokens_total", "", 'type="output"')),
        ),
        _number(
            "Waiting for a slot",
            "Requests in line now. A line that stays means that the model is too small a part of the box.",
            Query(now("appliance_queue_depth", "") + " or vector(0)"),
            limits=(10, 50),
        ),
    ],
)
_TRAFFIC = Row(
    "Traffic",
    [
        rates("Requests by model", "Exchanges a second.", "appliance_requests_total", "model", kind="stack"),
        rates(
            "Tokens in and out",
            "As engines report them; cached ones are a part of the input.",
            "appliance_tokens_total",
            "type",
            unit="short",
        ),
        levels("In flight", "Exchanges under way.", "appliance_requests_in_flight", "model", of="sum", kind="stack"),
    ],
)
_WRONG = Row(
    "What goes wrong",
    [
        rates(
            "Errors of ours, by reason",
            "Requests that we answered with an error ourselves: the code says why, docs/errors.md what to do.",
            "appliance_rejections_total",
            "reason",
        ),
        failed_attempts(),
        rates(
            "Clients that left",
            "By what they were waiting for. Many in first_byte: the model is too slow for them.",
            "appliance_client_disconnects_total",
            "phase",
        ),
        rises(
            "Ends of replicas that nobody asked for",
            "By cause; appliance status has the words.",
            "appliance_replica_restarts_total",
            "replica, reason",
        ),
        levels("Backends", "1 while the last probe succeeded.", "appliance_backend_up", "backend", of="min"),
        circuits(),
        levels(
            "Everything ready",
            "1 while every model of a box can be asked, as /readyz says it.",
            "appliance_ready",
            "instance",
            of="min",
        ),
    ],
)

PAGE = Page(
    "overview",
    "Appliance: overview",
    "The fleet on one page: what is ready, how much is asked, how fast it answers, what goes wrong.",
    [_NOW, _TRAFFIC, _WRONG],
)
