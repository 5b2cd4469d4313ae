"""Guardrails and limits: what was held back, and what it cost."""

from dashboards.author.page import Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import quantile, rate

_ACTED = 'action!="pass"'

PAGE = Page(
    "policy",
    "Appliance: guardrails and limits",
    "What guardrails found and did, what limits refused, and what looking costs.",
    [
        Row(
            "Guardrails",
            [
                Panel(
                    "Looked at",
                    "Texts a second, by guardrail and by what it did.",
                    [
                        Query(
                            rate("appliance_guardrail_evaluations_total", "guardrail, action"),
                            "{{guardrail}} {{action}}",
                        )
                    ],
                ),
                Panel(
                    "Acted",
                    "Blocked, redacted, flagged, or without an answer of a guard model (error).",
                    [
                        Query(
                            rate("appliance_guardrail_evaluations_total", "guardrail, on, action", _ACTED),
                            "{{guardrail}} {{on}} {{action}}",
                        )
                    ],
                ),
                Panel(
                    "Findings",
                    "By category; the text itself is kept nowhere.",
                    [
                        Query(
                            rate("appliance_guardrail_findings_total", "guardrail, category"),
                            "{{guardrail}} {{category}}",
                        )
                    ],
                ),
                Panel(
                    "Time for looking, p95",
                    "Of one request: text is all patterns together, the others are guard models.",
                    [Query(quantile(0.95, "appliance_guardrail_seconds", "check, on"), "{{check}} {{on}}")],
                    unit="s",
                    width=12,
                ),
                Panel(
                    "Blocked requests",
                    "Answered with guardrail_block.",
                    [Query(rate("appliance_rejections_total", "model", 'reason="guardrail_block"'), "{{model}}")],
                    unit="reqps",
                    width=12,
                ),
            ],
        ),
        Row(
            "Limits",
            [
                Panel(
                    "Limits that were met",
                    "Requests a minute, tokens a minute, at once; tokens a day and a month.",
                    [
                        Query(
                            rate(
                                "appliance_rejections_total",
                                "model, reason",
                                'reason=~"rate_limit_exceeded|insufficient_quota"',
                            ),
                            "{{model}} {{reason}}",
                        )
                    ],
                    unit="reqps",
                ),
                Panel(
                    "Bad keys",
                    "A flood of them is slowed down, and costs nobody else anything.",
                    [Query(rate("appliance_rejections_total", "", 'reason="invalid_api_key"'), "refused")],
                    unit="reqps",
                ),
                Panel(
                    "Parameters refused, suspects",
                    "Parameters that can hurt an engine, and requests that were the sole suspect of two crashes.",
                    [
                        Query(
                            rate(
                                "appliance_rejections_total",
                                "reason",
                                'reason=~"parameter_blocked|request_quarantined"',
                            ),
                            "{{reason}}",
                        )
                    ],
                    unit="reqps",
                ),
            ],
        ),
    ],
)
