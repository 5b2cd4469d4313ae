"""Expressions that more than one dashboard asks, written once."""

from dashboards.author.page import OURS, RATE


def rate(metric: str, by: str, *matchers: str) -> str:
    """How much a counter rises a second, by labels."""
    selector = ", ".join((OURS, *matchers))
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{selector}}}[{RATE}]))"


def rise(metric: str, by: str, over: str, *matchers: str) -> str:
    """How much a counter rose in all, by labels."""
    return f"sum by ({by}) (increase({metric}{{{', '.join((OURS, *matchers))}}}[{over}]))"


def quantile(share: float, metric: str, by: str = "", *matchers: str) -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    selector = ", ".join((OURS, *matchers))
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{{{selector}}}[{RATE}])))"


def now(metric: str, by: str, *matchers: str) -> str:
    """A gauge, summed by labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({metric}{{{', '.join((OURS, *matchers))}}})"
