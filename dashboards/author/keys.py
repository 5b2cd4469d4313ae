"""Who uses what."""

from dashboards.author.page import OURS, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import rate, rise
from dashboards.author.shapes import levels, rates

_TOKENS = "appliance_key_tokens_total"

_SUMS = Row(
    "In this time",
    [
        Panel(
            "Tokens by key",
            "Input and output, reported or estimated.",
            [Query(f"topk(20, {rise(_TOKENS, 'key', '$__range')})")],
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
)
_TIME = Row(
    "Over time",
    [
        rates("Tokens a second by key", "Who takes the box.", _TOKENS, "key", unit="short", kind="stack", width=12),
        Panel(
            "Share of tokens by key",
            "Of all tokens, reported or estimated.",
            [Query(f"{rate(_TOKENS, 'key')} / scalar({rate(_TOKENS, '')})", "{{key}}")],
            unit="percentunit",
            width=12,
        ),
        rates(
            "Tokens by model",
            "As the engines reported them.",
            "appliance_tokens_total",
            "model, type",
            unit="short",
            width=12,
        ),
        rates(
            "Tokens that we had to estimate",
            "Of exchanges that ended before the engine had said how many. A large share means clients that leave.",
            "appliance_tokens_estimated_total",
            "model, type",
            unit="short",
            width=12,
        ),
    ],
)
_LIMITS = Row(
    "Limits",
    [
        levels(
            "Quotas of keys",
            "Share of the tokens of this day or month that is used, what is reserved by requests under way not counted.",
            "appliance_key_quota_used_ratio",
            "key, span",
            unit="percentunit",
            limits=(0.8, 1),
        ),
        levels(
            "Quotas of models",
            "The same, of all keys together.",
            "appliance_model_quota_used_ratio",
            "model, span",
            unit="percentunit",
            limits=(0.8, 1),
        ),
        rates(
            "Refused because of a limit",
            "By model and reason.",
            "appliance_rejections_total",
            "model, reason",
            'reason=~"rate_limit_exceeded|insufficient_quota|invalid_api_key|model_not_allowed"',
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
)

PAGE = Page(
    "keys",
    "Appliance: keys and usage",
    "Who asks how much. The ledger of usage (appliance usage) has every key and the exact sums; here are the 200 first ones.",
    [_SUMS, _TIME, _LIMITS],
)
