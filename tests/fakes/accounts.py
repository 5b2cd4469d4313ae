"""Accounts whose log lines a test can read back."""

from itertools import count

from prometheus_client import CollectorRegistry, generate_latest

from appliance.domain.calls import Operation
from appliance.gateway.accounting import Accounts, Exchange
from appliance.observe.log import log_exchange
from appliance.observe.metrics import Metrics


def accounts() -> Accounts:
    ids = count(1)
    ticks = count(0)
    metrics = Metrics(CollectorRegistry())
    return Accounts(metrics, lambda: float(next(ticks)), lambda: 7.0, lambda: f"{next(ids):032x}", log_exchange)


def exchange(model: str = "m") -> Exchange:
    opened = accounts().open(Operation.CHAT, "127.0.0.1", "req-1")
    opened.model_known(model)
    opened.target = "box/m"
    opened.engine = "vllm"
    return opened


def text_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()
