"""Who uses what."""

from dashboards.author.page import OURS, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import rate, rise

PAGE = Page(
    "keys",
    "Appliance: keys and usage",
    "Who asks how much. The ledger of usage (appliance usage) has every key and the exact sums; here are the 200 first ones.",
    [
        Row(
            "In this time",
            [
                Panel(
                    "Tokens by key",
                    "Input and output, reported or estimated.",
                    [Query(f"topk(20, {rise('appliance_key_tokens_total', 'key', '$__range')})")],
                    kind="table",
                    width=12,
                    height=10,
                    names={"key": "Key", "Value": "Tokens"},
                ),
                Panel(
                    "Requests by key",
                    "All exchanges, and how they ended.",
                    [Query(f"topk(20, {rise('appliance_key_requests_total', 'key, outcome', '$__range')})")],
                    kind="table",
                    width=12,
                    height=10,
                    names={"key": "Key", "outcome": "Outcome", "Value": "Requests"},
                ),
            ],
        ),
        Row(
            "Over time",
            [
                Panel(
                    "Tokens a second by key",
                    "Who takes the box.",
                    [Query(rate("appliance_key_tokens_total", "key"), "{{key}}")],
                    kind="stack",
                    width=12,
                ),
                Panel(
                    "Share of tokens by key",
                    "Of all tokens, reported or estimated.",
                    [
                        Query(
                            f"{rate('appliance_key_tokens_total', 'key')} / scalar({rate('appliance_key_tokens_total', '')})",
                            "{{key}}",
                        )
                    ],
                    unit="percentunit",
                    width=12,
                ),
                Panel(
                    "Tokens by model",
                    "As the engines reported them.",
                    [Query(rate("appliance_tokens_total", "model, type"), "{{model}} {{type}}")],
                    width=12,
                ),
                Panel(
                    "Tokens that we had to estimate",
                    "Of exchanges that ended before the engine had said how many. A large share means clients that leave.",
                    [Query(rate("appliance_tokens_estimated_total", "model, type"), "{{model}} {{type}}")],
                    width=12,
                ),
            ],
        ),
        Row(
            "Limits",
            [
                Panel(
                    "Refused because of a limit",
                    "By model and reason.",
                    [
                        Query(
                            rate(
                                "appliance_rejections_total",
                                "model, reason",
                                'reason=~"rate_limit_exceeded|insufficient_quota|invalid_api_key|model_not_allowed"',
                            ),
                            "{{model}} {{reason}}",
                        )
                    ],
                    unit="reqps",
                    width=12,
                ),
                Panel(
                    "Boxes",
                    "What is watched here.",
                    [Query(f"appliance_build_info{{{OURS}}}")],
                    kind="table",
                    width=12,
                    names={"version": "Version"},
                    hidden=("Value",),
                ),
            ],
        ),
    ],
)
