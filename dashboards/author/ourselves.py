"""The appliance itself."""

from dashboards.author.page import OURS, RATE, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.shapes import level, levels, quantiles, rated, rates, risen, rises

_BOX = "instance"
_FILE = "instance, file"

_HEALTH = Row(
    "Health",
    [
        Panel(
            "Event loop, p99 lag",
            "How much later than asked for tasks are woken. Tokens are that late, too.",
            quantiles("appliance_event_loop_lag_seconds", _BOX, shares=(0.99,)),
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
        levels("Memory", "Resident.", "process_resident_memory_bytes", _BOX, unit="bytes"),
        levels("Connections of clients", "Open now.", "appliance_client_connections", _BOX),
        Panel(
            "File descriptors",
            "Open now, and how many may be.",
            [level("process_open_fds", _BOX), level("process_max_fds", _BOX, words="limit")],
        ),
        levels(
            "Memory of the machine",
            "That programs can still have.",
            "appliance_host_memory_available_bytes",
            _BOX,
            unit="bytes",
        ),
        Panel(
            "Tasks and threads",
            "Tasks of the event loop, a handful for each connection; threads for what would block it. A number that only rises is a bug of ours.",
            [level("appliance_tasks", _BOX, words="tasks"), level("appliance_threads", _BOX, words="threads")],
        ),
        Panel(
            "Series",
            "On the page of metrics, and those that it has no room for.",
            [
                level("appliance_metrics_series", _BOX),
                level("appliance_metrics_series_left_out", _BOX, of="sum", words="left out"),
            ],
        ),
        levels(
            "Time for the page of metrics",
            "From its beginning to its end; requests went on in between.",
            "appliance_metrics_render_seconds",
            _BOX,
            unit="s",
        ),
    ],
)
_DOOR = Row(
    "The door",
    [
        rates("HTTP by route", "All requests, also those of this page.", "appliance_http_requests_total", "route"),
        rates("HTTP by status", "All requests.", "appliance_http_requests_total", "code"),
        Panel(
            "Refused before a route",
            "Connections, and requests that are none.",
            [rated("appliance_connections_refused_total", "reason"), rated("appliance_bad_requests_total", "code")],
            unit="reqps",
        ),
        rates(
            "Readers cut",
            "Clients that stopped reading their answer.",
            "appliance_client_stalls_total",
            _BOX,
        ),
        rises(
            "Bugs contained",
            "Errors of ours that ended one connection: report them.",
            "appliance_connection_errors_total",
            _BOX,
        ),
        rises("Log lines lost", "Because whoever reads the log did not.", "appliance_log_lines_dropped_total", _BOX),
    ],
)
_KEPT = Row(
    "Disks, configuration, certificates",
    [
        levels(
            "Free space",
            "Where state is kept, and where models are.",
            "appliance_disk_free_bytes",
            "instance, disk",
            of="min",
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
            "Usage and events that wait or were lost",
            "Rows that are not in their file yet, those that never got there, batches that failed, and files that were broken.",
            [
                level("appliance_recording_rows_waiting", _FILE, words="waiting"),
                risen("appliance_recording_rows_dropped_total", _FILE, words="lost"),
                risen("appliance_recording_failures_total", _FILE, words="failures"),
                risen("appliance_recording_files_broken_total", _FILE, words="set aside"),
            ],
        ),
        rates(
            "Rows written",
            "Exchanges and events, a second.",
            "appliance_recording_rows_written_total",
            _FILE,
            unit="short",
        ),
        Panel(
            "Time to write a batch",
            "Of at most 100 rows, with waiting for the thread that writes; nobody waits for it. A slow disk shows here first.",
            quantiles("appliance_recording_write_seconds", _FILE, shares=(0.5, 0.99)),
            unit="s",
            limits=(0.5, 5),
        ),
        levels(
            "Size of the files",
            "With their journals. What is too old or too much is removed; the room is given back to the disk by and by.",
            "appliance_recording_file_bytes",
            _FILE,
            unit="bytes",
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
        Panel(
            "Configuration in effect",
            "The same digest is the same configuration, but for its secrets, on whatever machine.",
            [Query(f"appliance_config_info{{{OURS}}}")],
            kind="table",
            names={"digest": "Digest"},
            hidden=("Value",),
        ),
        levels(
            "Configuration that was read last",
            "1: it is in effect. 0: it was refused, and the one before goes on; appliance check says why.",
            "appliance_config_last_load_ok",
            _BOX,
            of="min",
        ),
        Panel(
            "Certificates end in",
            "Each certificate that the door shows.",
            [
                Query(
                    f"min by (instance, certificate) (appliance_tls_certificate_expiry_timestamp_seconds{{{OURS}}}) - time()",
                    "{{instance}} {{certificate}}",
                )
            ],
            unit="s",
            limits=(14 * 86400, 3 * 86400),
        ),
    ],
)

PAGE = Page(
    "self",
    "Appliance: itself",
    "What the gateway uses and whether it is in good health.",
    [_HEALTH, _DOOR, _KEPT],
)
