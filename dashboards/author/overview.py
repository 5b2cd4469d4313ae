"""Is it up, is it fast, what broke."""

from dashboards.author.page import OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import now, quantile, rate

_DURATION = "gen_ai_server_request_duration_seconds"
_FIRST = "gen_ai_server_time_to_first_token_seconds"
_OURS_AND_ENGINES = 'error_type!="", error_type!="client_gone"'

PAGE = Page(
    "overview",
    "Appliance: overview",
    "The fleet on one page: what is ready, how much is asked, how fast it answers, what goes wrong.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Model processes ready",
                    "Replicas that answer now, of those that the configuration has. Fewer is normal for models that start on demand.",
                    [
                        Query(now("appliance_replica_state", "", 'state="ready"'), "ready"),
                        Query(now("appliance_replica_state", ""), "of"),
                    ],
                    kind="number",
                    width=4,
                    height=5,
                ),
                Panel(
                    "Requests",
                    "Exchanges a second, all models.",
                    [Query(rate("appliance_requests_total", ""))],
                    unit="reqps",
                    kind="number",
                    width=4,
                    height=5,
                ),
                Panel(
                    "Failed",
                    "Share of exchanges that ended with an error of ours or of an engine. Clients that left do not count.",
                    [
                        Query(
                            f"{rate(f'{_DURATION}_count', '', _OURS_AND_ENGINES)} / {rate(f'{_DURATION}_count', '')} or vector(0)"
                        )
                    ],
                    unit="percentunit",
                    kind="number",
                    width=4,
                    height=5,
                    limits=(0.01, 0.05),
                ),
                Panel(
                    "First token, p95",
                    "From the request to the first streamed content, as clients see it.",
                    [Query(quantile(0.95, _FIRST))],
                    unit="s",
                    kind="number",
                    width=4,
                    height=5,
                    limits=(2, 5),
                ),
                Panel(
                    "Tokens generated",
                    "Output tokens a second, as the engines count them.",
                    [Query(rate("appliance_tokens_total", "", 'type="output"'))],
                    unit="short",
                    kind="number",
                    width=4,
                    height=5,
                ),
                Panel(
                    "Waiting for a slot",
                    "Requests in line now. A line that stays means that the model is too small a part of the box.",
                    [Query(now("appliance_queue_depth", "") + " or vector(0)")],
                    kind="number",
                    width=4,
                    height=5,
                    limits=(10, 50),
                ),
            ],
        ),
        Row(
            "Traffic",
            [
                Panel(
                    "Requests by model",
                    "Exchanges a second.",
                    [Query(rate("appliance_requests_total", "model"), "{{model}}")],
                    unit="reqps",
                    kind="stack",
                ),
                Panel(
                    "Tokens in and out",
                    "As engines report them; cached ones are a part of the input.",
                    [Query(rate("appliance_tokens_total", "type"), "{{type}}")],
                ),
                Panel(
                    "In flight",
                    "Exchanges under way.",
                    [Query(now("appliance_requests_in_flight", "model"), "{{model}}")],
                    kind="stack",
                ),
            ],
        ),
        Row(
            "What goes wrong",
            [
                Panel(
                    "Errors of ours, by reason",
                    "Requests that we answered with an error ourselves: the code says why, docs/errors.md what to do.",
                    [Query(rate("appliance_rejections_total", "reason"), "{{reason}}")],
                    unit="reqps",
                ),
                Panel(
                    "Failed attempts at targets",
                    "Attempts that brought no answer. One with another healthy target is retried there.",
                    [Query(rate("appliance_upstream_errors_total", "target, reason"), "{{target}} {{reason}}")],
                    unit="reqps",
                ),
                Panel(
                    "Clients that left",
                    "By what they were waiting for. Many in first_byte: the model is too slow for them.",
                    [Query(rate("appliance_client_disconnects_total", "phase"), "{{phase}}")],
                    unit="reqps",
                ),
                Panel(
                    "Ends of replicas that nobody asked for",
                    "By cause; appliance status has the words.",
                    [
                        Query(
                            f"sum by (replica, reason) (increase(appliance_replica_restarts_total{{{OURS}}}[{RATE}])) > 0",
                            "{{replica}} {{reason}}",
                        )
                    ],
                ),
                Panel(
                    "Backends",
                    "1 while the last probe succeeded.",
                    [Query(f"min by (backend) (appliance_backend_up{{{OURS}}})", "{{backend}}")],
                ),
                Panel(
                    "Circuits",
                    "0 closed, 1 half open, 2 open: an open one gets no requests but a probe.",
                    [Query(f"max by (target) (appliance_circuit_state{{{OURS}}})", "{{target}}")],
                ),
            ],
        ),
    ],
)
