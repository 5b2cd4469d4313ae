"""Where the time of a request goes, model by model."""

from dashboards.author.page import GEN_AI, MODEL, OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import now, quantile, rate

_DURATION = "gen_ai_server_request_duration_seconds"
_FIRST = "gen_ai_server_time_to_first_token_seconds"
_PACE = "gen_ai_server_time_per_output_token_seconds"
_SIZE = "gen_ai_client_token_usage"


def _three(metric: str, *matchers: str) -> list[Query]:
    return [Query(quantile(share, metric, "", GEN_AI, *matchers), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def _tokens(kind: str) -> str:
    return rate("appliance_tokens_total", "model", MODEL, f'type="{kind}"')


PAGE = Page(
    "latency",
    "Appliance: models and latency",
    "How fast models answer, and where the time goes.",
    [
        Row(
            "Speed",
            [
                Panel(
                    "Time to first token",
                    "From the request to the first streamed content. It holds the line, a model that loads, and reading the prompt.",
                    _three(_FIRST),
                    unit="s",
                ),
                Panel(
                    "Time between tokens",
                    "Mean of each streamed answer, after its first token.",
                    _three(_PACE),
                    unit="s",
                ),
                Panel(
                    "Whole answer",
                    "Client-visible duration of exchanges that succeeded.",
                    _three(_DURATION, 'error_type=""'),
                    unit="s",
                ),
            ],
        ),
        Row(
            "Where the time goes",
            [
                Panel(
                    "Seconds by stage",
                    "How many seconds a second streamed answers spend in line, until their first token, and streaming: the largest one is what to mend.",
                    [Query(rate("appliance_stage_seconds_total", "stage", MODEL), "{{stage}}")],
                    unit="s",
                    kind="stack",
                ),
                Panel(
                    "First token, p95 by model",
                    "The model that is slow.",
                    [Query(quantile(0.95, _FIRST, "gen_ai_request_model", GEN_AI), "{{gen_ai_request_model}}")],
                    unit="s",
                ),
                Panel(
                    "Time in line, p95",
                    "Of requests that had to wait for a slot.",
                    [Query(quantile(0.95, "appliance_queue_wait_seconds", "target"), "{{target}}")],
                    unit="s",
                ),
                Panel(
                    "In line",
                    "Requests that wait for a slot now.",
                    [Query(now("appliance_queue_depth", "target"), "{{target}}")],
                    kind="stack",
                ),
                Panel(
                    "First token within a second",
                    "Share of streamed answers whose first token came within a second.",
                    [
                        Query(
                            f'sum (rate({_FIRST}_bucket{{{OURS}, {GEN_AI}, le="1.0"}}[{RATE}])) / sum (rate({_FIRST}_count{{{OURS}, {GEN_AI}}}[{RATE}]))',
                            "within 1 s",
                        )
                    ],
                    unit="percentunit",
                ),
                Panel(
                    "Tokens a second of one stream",
                    "Median, by model.",
                    [Query(f"1 / {quantile(0.5, _PACE, 'gen_ai_request_model', GEN_AI)}", "{{gen_ai_request_model}}")],
                ),
            ],
        ),
        Row(
            "Sizes",
            [
                Panel("Prompts", "Tokens of input.", _three(_SIZE, 'gen_ai_token_type="input"')),
                Panel("Answers", "Tokens of output.", _three(_SIZE, 'gen_ai_token_type="output"')),
                Panel(
                    "Cached share of input",
                    "Input tokens that engines took from their caches. Low with long shared prompts: balance by prefix may help.",
                    [Query(f"{_tokens('cached')} / {_tokens('input')}", "{{model}}")],
                    unit="percentunit",
                ),
            ],
        ),
    ],
    by_model=True,
)
