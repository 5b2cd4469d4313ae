"""Guardrails and limits: what was held back, and what it cost."""

from dashboards.author.page import Page, Row
from dashboards.author.panels import Panel
from dashboards.author.shapes import quantiles, rates

_EVALUATIONS = "appliance_guardrail_evaluations_total"
_REJECTIONS = "appliance_rejections_total"

_GUARDRAILS = Row(
    "Guardrails",
    [
        rates(
            "Looked at",
            "Texts a second, by guardrail and by what it did.",
            _EVALUATIONS,
            "guardrail, action",
            unit="short",
        ),
        rates(
            "Acted",
            "Blocked, redacted, flagged, or without an answer of a guard model (error).",
            _EVALUATIONS,
            "guardrail, on, action",
            'action!="pass"',
            unit="short",
        ),
        rates(
            "Findings",
            "By category; the text itself is kept nowhere.",
            "appliance_guardrail_findings_total",
            "guardrail, category",
            unit="short",
        ),
        Panel(
            "Time for looking, p95",
            "Of a close look at one request: text is all patterns together, the others are guard models.",
            quantiles("appliance_guardrail_seconds", "check, on", shares=(0.95,)),
            unit="s",
            width=12,
        ),
        rates(
            "Blocked requests",
            "Answered with guardrail_block.",
            _REJECTIONS,
            "model",
            'reason="guardrail_block"',
            width=12,
        ),
    ],
)
_LIMITS = Row(
    "Limits",
    [
        rates(
            "Limits that were met",
            "Requests a minute, tokens a minute, at once; tokens a day and a month.",
            _REJECTIONS,
            "model, reason",
            'reason=~"rate_limit_exceeded|insufficient_quota"',
        ),
        rates(
            "Bad keys",
            "A flood of them is slowed down, and costs nobody else anything.",
            _REJECTIONS,
            "reason",
            'reason="invalid_api_key"',
        ),
        rates(
            "Parameters refused, suspects",
            "Parameters that can hurt an engine, and requests that were the sole suspect of two crashes.",
            _REJECTIONS,
            "reason",
            'reason=~"parameter_blocked|request_quarantined"',
        ),
    ],
)

PAGE = Page(
    "policy",
    "Appliance: guardrails and limits",
    "What guardrails found and did, what limits refused, and what looking costs.",
    [_GUARDRAILS, _LIMITS],
)
