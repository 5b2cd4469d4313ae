"""The supervisor: what model processes do, why they ended, and what their engines say about themselves."""

from dashboards.author.page import OURS, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.shapes import (
    circuits,
    failed_attempts,
    in_line,
    level,
    levels,
    needed_memory,
    quantiles,
    rated,
    rates,
    ratio,
    risen,
    rises,
    time_in_line,
)

_ENGINE = "appliance_engine_"
_LOAD = "appliance_replica_load_seconds"

_STATES = Row(
    "States",
    [
        Panel(
            "State of each replica",
            "A coloured line for each state that a replica is in.",
            [Query(f"max by (replica, state) (appliance_replica_state{{{OURS}}} == 1)", "{{replica}} {{state}}")],
            kind="states",
            width=24,
            height=10,
        ),
        Panel(
            "Replicas by state",
            "quarantined waits for a change or for appliance load; blocked waits for GPU memory that others hold.",
            [Query(f"sum by (state) (appliance_replica_state{{{OURS}}}) > 0", "{{state}}")],
            kind="stack",
        ),
        rises(
            "Restarts in an hour",
            "Ends that nobody asked for.",
            "appliance_replica_restarts_total",
            "replica",
            over="1h",
        ),
        rates(
            "Causes",
            "Of the ends that nobody asked for, a second.",
            "appliance_replica_restarts_total",
            "reason",
            unit="short",
        ),
    ],
)
_STARTS = Row(
    "Starts and swaps",
    [
        Panel(
            "Time until a model is ready",
            "The slowest five percent and the median; cold is a start of its process, wake the end of its sleep.",
            quantiles(_LOAD, "runtime, kind", shares=(0.5, 0.95)),
            unit="s",
        ),
        rises("Starts", "Processes that were started.", "appliance_replica_starts_total", "replica", kind="stack"),
        rises(
            "Made room",
            "Replicas that went because another one needed their room. Many: the models do not fit, or residence is too short.",
            "appliance_replica_swaps_total",
            "replica",
            kind="stack",
        ),
        Panel(
            "What they are",
            "By runtime.",
            [Query(f"appliance_replica_info{{{OURS}}}")],
            kind="table",
            names={"runtime": "Runtime", "replica": "Replica", "engine": "Engine", "gpus": "GPUs"},
            hidden=("Value",),
        ),
        Panel(
            "What models stand for",
            "By public name.",
            [Query(f"appliance_model_target_info{{{OURS}}}")],
            kind="table",
            names={"model": "Model", "target": "Target", "upstream": "Server"},
            hidden=("Value",),
        ),
        Panel(
            "Up for",
            "Since the process of a replica was started.",
            [Query(f"time() - max by (replica) (appliance_replica_start_time_seconds{{{OURS}}})", "{{replica}}")],
            unit="s",
        ),
        Panel(
            "Failed health probes",
            "Of replicas that were ready, and of backends. A busy engine misses some; one whose tokens do not move meanwhile is restarted.",
            [
                risen("appliance_replica_probe_failures_total", "replica"),
                risen("appliance_backend_probe_failures_total", "backend"),
            ],
        ),
        needed_memory(),
        rises(
            "Configurations",
            "Loaded and refused in this time.",
            "appliance_config_loads_total",
            "result",
        ),
    ],
)
_MACHINE = Row(
    "What they use of the machine",
    [
        rates(
            "CPU",
            "Cores that a replica's processes keep busy.",
            "appliance_replica_cpu_seconds_total",
            "replica",
            unit="short",
            kind="stack",
        ),
        levels(
            "Memory",
            "Of the machine, not of its GPUs; what several processes of a replica share counts for each.",
            "appliance_replica_resident_bytes",
            "replica",
            unit="bytes",
            kind="stack",
        ),
        levels("Processes", "Of each replica.", "appliance_replica_processes", "replica"),
    ],
)
_ENGINES = Row(
    "Inside the engines, by their own numbers",
    [
        Panel(
            "Requests in an engine",
            "Those it works on, and those in its own line. A line of its own means that slots is too high for it.",
            [
                level(f"{_ENGINE}requests_running", "replica", words="running"),
                level(f"{_ENGINE}requests_waiting", "replica", words="waiting"),
            ],
        ),
        levels(
            "KV cache in use",
            "Near 1, an engine puts requests back and computes them again. llama-server does not tell.",
            f"{_ENGINE}kv_cache_usage_ratio",
            "replica",
            unit="percentunit",
            limits=(0.9, 0.97),
        ),
        rates(
            "Preemptions",
            "Requests that were put back because the KV cache was full: their tokens are computed twice.",
            f"{_ENGINE}preemptions_total",
            "replica",
        ),
        Panel(
            "Tokens a second",
            "Made, and computed while prompts were read.",
            [
                rated(f"{_ENGINE}generation_tokens_total", "replica", words="made"),
                rated(f"{_ENGINE}prefill_tokens_total", "replica", words="read"),
            ],
        ),
        Panel(
            "Prompts from the prefix cache",
            "Share of prompt tokens that did not have to be computed. Low with long shared prompts: balance by prefix may help.",
            [ratio(f"{_ENGINE}prefix_cache_hit_tokens_total", f"{_ENGINE}prefix_cache_query_tokens_total", "replica")],
            unit="percentunit",
        ),
        rates(
            "Prompt tokens",
            "As they were sent, from the cache or not.",
            f"{_ENGINE}prompt_tokens_total",
            "replica",
            unit="short",
        ),
        Panel(
            "Seconds by stage",
            "How many seconds a second requests spend in each stage inside an engine.",
            [rated(f"{_ENGINE}stage_seconds_total", "replica, stage")],
            unit="s",
            kind="stack",
        ),
        Panel(
            "Guessed tokens that were right",
            "Of speculative decoding. Below a third it costs more than it brings.",
            [ratio(f"{_ENGINE}spec_accepted_tokens_total", f"{_ENGINE}spec_draft_tokens_total", "replica")],
            unit="percentunit",
        ),
        Panel(
            "Ends inside the engines",
            "Why requests ended, and those that an engine would not take.",
            [
                rated(f"{_ENGINE}finished_total", "replica, reason"),
                rated(f"{_ENGINE}refusals_total", "replica", words="refused"),
            ],
            unit="reqps",
        ),
        levels(
            "Engines that tell",
            "1 while an engine tells its numbers when it is asked; 0 is an engine that is stuck or far too busy.",
            f"{_ENGINE}up",
            "replica",
            of="min",
        ),
        levels(
            "Time to tell",
            "How long an engine took to tell its numbers. It rises when an engine has no time for anything else.",
            f"{_ENGINE}scrape_seconds",
            "replica",
            unit="s",
        ),
    ],
)
_WAITING = Row(
    "What waits for them",
    [
        in_line(),
        time_in_line(0.5, 0.95),
        rates(
            "Refused while models were away",
            "Because they load, crash, are quarantined or blocked, or because the line is full.",
            "appliance_rejections_total",
            "reason",
            'reason=~"model_.*|queue_.*|draining"',
        ),
    ],
)
_TARGETS = Row(
    "Targets",
    [
        failed_attempts(),
        rates(
            "Second attempts",
            "Another target was asked because the first one failed.",
            "appliance_retries_total",
            "target, reason",
        ),
        circuits(),
        levels(
            "Connections",
            "To each model server: in use, kept for the next request, and requests that wait for one. If they wait, max_connections is too low for what the server could take.",
            "appliance_upstream_connections",
            "upstream, state",
        ),
        rates(
            "How connections came about",
            "dead: the server had closed them while they were idle. Many that are opened and few reused: it closes them after each answer.",
            "appliance_upstream_connections_taken_total",
            "upstream, how",
        ),
    ],
)

PAGE = Page(
    "supervisor",
    "Appliance: model processes",
    "The life of every replica: states, restarts and their causes. appliance status has the words and what to do.",
    [_STATES, _STARTS, _MACHINE, _ENGINES, _WAITING, _TARGETS],
)
