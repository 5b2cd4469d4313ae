"""The supervisor: what model processes do, and why they ended."""

from dashboards.author.page import OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import now, quantile, rate

PAGE = Page(
    "supervisor",
    "Appliance: model processes",
    "The life of every replica: states, restarts and their causes. appliance status has the words and what to do.",
    [
        Row(
            "States",
            [
                Panel(
                    "State of each replica",
                    "A coloured line for each state that a replica is in.",
                    [
                        Query(
                            f"max by (replica, state) (appliance_replica_state{{{OURS}}} == 1)", "{{replica}} {{state}}"
                        )
                    ],
                    kind="states",
                    width=24,
                    height=10,
                ),
                Panel(
                    "Replicas by state",
                    "quarantined waits for a change or for appliance load; blocked waits for GPU memory that others hold.",
                    [Query(now("appliance_replica_state", "state") + " > 0", "{{state}}")],
                    kind="stack",
                ),
                Panel(
                    "Restarts in an hour",
                    "Ends that nobody asked for.",
                    [
                        Query(
                            f"sum by (replica) (increase(appliance_replica_restarts_total{{{OURS}}}[1h]))",
                            "{{replica}}",
                        )
                    ],
                ),
                Panel(
                    "Causes",
                    "Of the ends that nobody asked for.",
                    [Query(rate("appliance_replica_restarts_total", "reason"), "{{reason}}")],
                    unit="short",
                ),
            ],
        ),
        Row(
            "What waits for them",
            [
                Panel(
                    "In line",
                    "Requests that wait for a slot.",
                    [Query(now("appliance_queue_depth", "target"), "{{target}}")],
                    kind="stack",
                ),
                Panel(
                    "Time in line",
                    "Median and the slowest five percent of those that waited.",
                    [
                        Query(quantile(0.5, "appliance_queue_wait_seconds", "target"), "{{target}} p50"),
                        Query(quantile(0.95, "appliance_queue_wait_seconds", "target"), "{{target}} p95"),
                    ],
                    unit="s",
                ),
                Panel(
                    "Refused while models were away",
                    "Because they load, crash, are quarantined or blocked, or because the line is full.",
                    [
                        Query(
                            rate("appliance_rejections_total", "reason", 'reason=~"model_.*|queue_.*|draining"'),
                            "{{reason}}",
                        )
                    ],
                    unit="reqps",
                ),
            ],
        ),
        Row(
            "Targets",
            [
                Panel(
                    "Failed attempts",
                    "By target and reason.",
                    [Query(rate("appliance_upstream_errors_total", "target, reason"), "{{target}} {{reason}}")],
                    unit="reqps",
                ),
                Panel(
                    "Second attempts",
                    "Another target was asked because the first one failed.",
                    [Query(rate("appliance_retries_total", "target, reason"), "{{target}} {{reason}}")],
                    unit="reqps",
                ),
                Panel(
                    "Circuits",
                    "0 closed, 1 half open, 2 open.",
                    [Query(f"max by (target) (appliance_circuit_state{{{OURS}}})", "{{target}}")],
                ),
                Panel(
                    "Memory by replica",
                    "GPU memory that a replica needs on each of its GPUs, declared or learned.",
                    [Query(f"max by (replica) (appliance_replica_gpu_memory_bytes{{{OURS}}})", "{{replica}}")],
                    unit="bytes",
                    kind="stack",
                ),
                Panel(
                    "Configurations",
                    "Loaded and refused in this time.",
                    [
                        Query(
                            f"sum by (result) (increase(appliance_config_loads_total{{{OURS}}}[{RATE}]))", "{{result}}"
                        )
                    ],
                ),
            ],
        ),
    ],
)
