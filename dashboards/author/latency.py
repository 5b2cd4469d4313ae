"""Where the time of a request goes, model by model."""

from dashboards.author.page import GEN_AI, MODEL, OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import quantile, rate
from dashboards.author.shapes import in_line, levels, quantiles, rates, time_in_line

_DURATION = "gen_ai_server_request_duration_seconds"
_FIRST = "gen_ai_server_time_to_first_token_seconds"
_PACE = "gen_ai_server_time_per_output_token_seconds"
_SIZE = "gen_ai_client_token_usage"
_OVERHEAD = "appliance_overhead_seconds"


def _tokens(kind: str) -> str:
    return rate("appliance_tokens_total", "model", MODEL, f'type="{kind}"')


_SPEED = Row(
    "Speed",
    [
        Panel(
            "Time to first token",
            "From the request to the first streamed content. It holds the line, a model that loads, and reading the prompt. Points are single exchanges: their id finds them in the log.",
            quantiles(_FIRST, "", GEN_AI),
            unit="s",
            exemplars=True,
        ),
        Panel(
            "Time between tokens",
            "Mean of each streamed answer, after its first token.",
            quantiles(_PACE, "", GEN_AI),
            unit="s",
        ),
        Panel(
            "Whole answer",
            "Client-visible duration of exchanges that succeeded. Points are single exchanges.",
            quantiles(_DURATION, "", GEN_AI, 'error_type=""'),
            unit="s",
            exemplars=True,
        ),
    ],
)
_WHERE = Row(
    "Where the time goes",
    [
        rates(
            "Seconds by stage",
            "How many seconds a second streamed answers spend in each stage: sent by a slow client, in line, while a model loads, in the appliance itself, until the engine's first token, and streaming. The largest one is what to mend.",
            "appliance_stage_seconds_total",
            "stage",
            MODEL,
            unit="s",
            kind="stack",
        ),
        Panel(
            "Added by the appliance itself",
            "Before an engine was asked and after a whole answer of it was here: reading, keys, limits, guardrails, routing, accounts. Waiting for others is not in it.",
            quantiles(_OVERHEAD, ""),
            unit="s",
            limits=(0.005, 0.05),
        ),
        Panel(
            "First token, p95 by model",
            "The model that is slow.",
            quantiles(_FIRST, "gen_ai_request_model", GEN_AI, shares=(0.95,)),
            unit="s",
        ),
        levels(
            "Under way by phase",
            "What requests wait for now: request (being read), loading (a model), queued (a slot), first_byte (the engine), streaming.",
            "appliance_requests_by_phase",
            "phase",
            MODEL,
            of="sum",
            kind="stack",
        ),
        time_in_line(0.95),
        in_line(),
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
)
_STEADY = Row(
    "How steadily answers come",
    [
        Panel(
            "Longest pause of an answer",
            "Between two pieces of it, after the first. Engines pause when they read somebody's long prompt in between; slow readers are not in it.",
            quantiles("appliance_stream_longest_gap_seconds", "", MODEL),
            unit="s",
            limits=(0.5, 1),
        ),
        rates(
            "Stalls",
            "Pauses of more than a second, which a reader notices. If they come with long prompts, chunked prefill or fewer slots may help.",
            "appliance_stream_stalls_total",
            "model",
            MODEL,
        ),
    ],
)
_SIZES = Row(
    "Sizes and ends",
    [
        Panel("Prompts", "Tokens of input.", quantiles(_SIZE, "", GEN_AI, 'gen_ai_token_type="input"')),
        Panel("Answers", "Tokens of output.", quantiles(_SIZE, "", GEN_AI, 'gen_ai_token_type="output"')),
        Panel(
            "Cached share of input",
            "Input tokens that engines took from their caches. Low with long shared prompts: balance by prefix may help.",
            [Query(f"{_tokens('cached')} / {_tokens('input')}", "{{model}}")],
            unit="percentunit",
        ),
        rates(
            "Why answers end",
            "length: they had all the tokens they may have. client_gone: nobody waited for the rest.",
            "appliance_finish_reasons_total",
            "reason",
            MODEL,
            kind="stack",
        ),
    ],
)

PAGE = Page(
    "latency",
    "Appliance: models and latency",
    "How fast models answer, and where the time goes.",
    [_SPEED, _WHERE, _STEADY, _SIZES],
    by_model=True,
)
