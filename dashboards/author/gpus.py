"""The GPUs."""

from dashboards.author.page import OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import rate


def _each(metric: str, legend: str = "{{instance}} GPU {{gpu}}") -> Query:
    return Query(f"max by (instance, gpu) ({metric}{{{OURS}}})", legend)


_OUTPUT = rate("appliance_tokens_total", "", 'type="output"')
_SHARE = "max by (instance, gpu) (appliance_gpu_memory_used_bytes{{{0}}} / appliance_gpu_memory_total_bytes{{{0}}})"

PAGE = Page(
    "gpus",
    "Appliance: GPUs",
    "Memory, load, heat and power of every GPU, and who is to have the memory.",
    [
        Row(
            "Memory",
            [
                Panel(
                    "Memory in use",
                    "By anybody, ours and others; appliance status names the others.",
                    [Query(_SHARE.format(OURS), "{{instance}} GPU {{gpu}}")],
                    unit="percentunit",
                    limits=(0.95, 0.99),
                ),
                Panel("Memory in use, bytes", "By anybody.", [_each("appliance_gpu_memory_used_bytes")], unit="bytes"),
                Panel(
                    "Needed by our replicas",
                    "On each of their GPUs, declared or learned.",
                    [Query(f"max by (replica) (appliance_replica_gpu_memory_bytes{{{OURS}}})", "{{replica}}")],
                    unit="bytes",
                    kind="stack",
                ),
            ],
        ),
        Row(
            "Work",
            [
                Panel(
                    "Busy",
                    "Share of time in which a GPU had something to do.",
                    [_each("appliance_gpu_utilization_ratio")],
                    unit="percentunit",
                ),
                Panel(
                    "Temperature",
                    "From about 87 °C on, GPUs slow down to stay alive.",
                    [_each("appliance_gpu_temperature_celsius")],
                    unit="celsius",
                    limits=(80, 87),
                ),
                Panel("Power", "What a GPU draws.", [_each("appliance_gpu_power_watts")], unit="watt"),
                Panel(
                    "Tokens by watt-second",
                    "Output tokens for each joule of all GPUs.",
                    [Query(f"{_OUTPUT} / sum (appliance_gpu_power_watts{{{OURS}}})", "tokens/J")],
                ),
            ],
        ),
        Row(
            "Health",
            [
                Panel(
                    "Answering, without a fault",
                    "0: it has a fault, or its driver does not answer. It gets no new models.",
                    [_each("appliance_gpu_up")],
                ),
                Panel(
                    "Driver that did not answer",
                    "Questions that the driver did not answer in time.",
                    [
                        Query(
                            f"sum by (instance) (increase(appliance_gpu_driver_timeouts_total{{{OURS}}}[{RATE}]))",
                            "{{instance}}",
                        )
                    ],
                ),
                Panel(
                    "What they are",
                    "By box and index.",
                    [Query(f"appliance_gpu_info{{{OURS}}}")],
                    kind="table",
                    names={"gpu": "GPU", "name": "Name", "uuid": "UUID"},
                    hidden=("Value",),
                ),
            ],
        ),
    ],
)
