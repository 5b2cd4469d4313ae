"""The appliance itself."""

from dashboards.author.page import OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import quantile, rate


def _each(metric: str, legend: str = "{{instance}}") -> Query:
    return Query(f"max by (instance) ({metric}{{{OURS}}})", legend)


PAGE = Page(
    "self",
    "Appliance: itself",
    "What the gateway uses and whether it is in good health.",
    [
        Row(
            "Health",
            [
                Panel(
                    "Event loop, p99 lag",
                    "How much later than asked for tasks are woken. Tokens are that late, too.",
                    [Query(quantile(0.99, "appliance_event_loop_lag_seconds", "instance"), "{{instance}}")],
                    unit="s",
                    limits=(0.05, 0.25),
                ),
                Panel(
                    "CPU",
                    "Of one core.",
                    [Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{OURS}}}[{RATE}]))", "{{instance}}")],
                    unit="percentunit",
                    limits=(0.7, 0.9),
                ),
                Panel("Memory", "Resident.", [_each("process_resident_memory_bytes")], unit="bytes"),
                Panel("Connections of clients", "Open now.", [_each("appliance_client_connections")]),
                Panel(
                    "File descriptors",
                    "Open now, and how many may be.",
                    [_each("process_open_fds"), _each("process_max_fds", "{{instance}} limit")],
                ),
                Panel(
                    "Memory of the machine",
                    "That programs can still have.",
                    [_each("appliance_host_memory_available_bytes")],
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "The door",
            [
                Panel(
                    "HTTP by route",
                    "All requests, also those of this page.",
                    [Query(rate("appliance_http_requests_total", "route"), "{{route}}")],
                    unit="reqps",
                ),
                Panel(
                    "HTTP by status",
                    "All requests.",
                    [Query(rate("appliance_http_requests_total", "code"), "{{code}}")],
                    unit="reqps",
                ),
                Panel(
                    "Refused before a route",
                    "Connections, and requests that are none.",
                    [
                        Query(rate("appliance_connections_refused_total", "reason"), "{{reason}}"),
                        Query(rate("appliance_bad_requests_total", "code"), "{{code}}"),
                    ],
                    unit="reqps",
                ),
                Panel(
                    "Readers cut",
                    "Clients that stopped reading their answer.",
                    [Query(rate("appliance_client_stalls_total", "instance"), "{{instance}}")],
                    unit="reqps",
                ),
                Panel(
                    "Bugs contained",
                    "Errors of ours that ended one connection: report them.",
                    [
                        Query(
                            f"sum by (instance) (increase(appliance_connection_errors_total{{{OURS}}}[{RATE}]))",
                            "{{instance}}",
                        )
                    ],
                ),
                Panel(
                    "Log lines lost",
                    "Because whoever reads the log did not.",
                    [
                        Query(
                            f"sum by (instance) (increase(appliance_log_lines_dropped_total{{{OURS}}}[{RATE}]))",
                            "{{instance}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Disks and configuration",
            [
                Panel(
                    "Free space",
                    "Where state is kept, and where models are.",
                    [Query(f"min by (instance, disk) (appliance_disk_free_bytes{{{OURS}}})", "{{instance}} {{disk}}")],
                    unit="bytes",
                ),
                Panel(
                    "Free share",
                    "Of each disk.",
                    [
                        Query(
                            f"min by (instance, disk) (appliance_disk_free_bytes{{{OURS}}} / appliance_disk_size_bytes{{{OURS}}})",
                            "{{instance}} {{disk}}",
                        )
                    ],
                    unit="percentunit",
                    limits=(0.1, 0.03),
                ),
                Panel(
                    "Usage that waits or was lost",
                    "Exchanges that are not in the usage file yet, and those that never got there.",
                    [
                        _each("appliance_usage_rows_waiting", "{{instance}} waiting"),
                        Query(
                            f"sum by (instance) (increase(appliance_usage_rows_dropped_total{{{OURS}}}[{RATE}]))",
                            "{{instance}} lost",
                        ),
                        Query(
                            f"sum by (instance) (increase(appliance_usage_files_broken_total{{{OURS}}}[{RATE}]))",
                            "{{instance}} files set aside",
                        ),
                    ],
                ),
                Panel(
                    "Configuration in effect since",
                    "When it was read.",
                    [
                        Query(
                            f"max by (instance) (appliance_config_loaded_timestamp_seconds{{{OURS}}}) * 1000",
                            "{{instance}}",
                        )
                    ],
                    unit="dateTimeAsIso",
                    kind="number",
                ),
            ],
        ),
    ],
)
