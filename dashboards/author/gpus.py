"""The GPUs."""

from dashboards.author.page import OURS, Page, Row
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import rate
from dashboards.author.shapes import level, levels, needed_memory, rates, rises

_GPU = "appliance_gpu_"
_EACH = "instance, gpu"
_OUTPUT = rate("appliance_tokens_total", "", 'type="output"')
_SHARE = f"max by ({_EACH}) ({_GPU}memory_used_bytes{{{OURS}}} / {_GPU}memory_total_bytes{{{OURS}}})"

_MEMORY = Row(
    "Memory",
    [
        Panel(
            "Memory in use",
            "By anybody, ours and others; appliance status names the others.",
            [Query(_SHARE, "{{instance}} {{gpu}}")],
            unit="percentunit",
            limits=(0.95, 0.99),
        ),
        Panel(
            "Memory in use, bytes",
            "By anybody, and what the driver keeps for itself.",
            [
                level(f"{_GPU}memory_used_bytes", _EACH),
                level(f"{_GPU}memory_reserved_bytes", _EACH, words="of the driver"),
            ],
            unit="bytes",
        ),
        needed_memory(),
        levels(
            "Held by our replicas",
            "Memory of each GPU that a replica's processes hold, as the driver says. What the GPU has in use beyond these is somebody else's.",
            "appliance_replica_gpu_memory_used_bytes",
            "replica, gpu",
            unit="bytes",
            kind="stack",
        ),
    ],
)
_WORK = Row(
    "Work",
    [
        levels(
            "Busy",
            "Share of time in which a GPU had something to do.",
            f"{_GPU}utilization_ratio",
            _EACH,
            unit="percentunit",
        ),
        levels(
            "Memory busy",
            "Share of time in which a GPU's memory was read or written. High while the processors rest: making tokens waits for memory, and larger batches cost little.",
            f"{_GPU}memory_utilization_ratio",
            _EACH,
            unit="percentunit",
        ),
        levels(
            "Clocks",
            "Of its processors and its memory. A busy GPU with a low clock is held down.",
            f"{_GPU}clock_hertz",
            f"{_EACH}, domain",
            unit="hertz",
        ),
        Panel(
            "Tokens by joule",
            "Output tokens for each joule of all GPUs.",
            [Query(f"{_OUTPUT} / {rate(f'{_GPU}energy_joules_total', '')}", "tokens/J")],
        ),
    ],
)
_HEAT = Row(
    "Heat and power",
    [
        levels(
            "Temperature",
            "From about 87 °C on, GPUs slow down to stay alive.",
            f"{_GPU}temperature_celsius",
            _EACH,
            unit="celsius",
            limits=(80, 87),
        ),
        levels(
            "Temperature of memory",
            "From about 95 °C on, memory of GPUs slows down.",
            f"{_GPU}memory_temperature_celsius",
            _EACH,
            unit="celsius",
            limits=(90, 95),
        ),
        levels("Fans", "Share of their full speed.", f"{_GPU}fan_ratio", _EACH, unit="percentunit"),
        Panel(
            "Power",
            "What a GPU draws, and what it may draw.",
            [level(f"{_GPU}power_watts", _EACH), level(f"{_GPU}power_limit_watts", _EACH, words="limit")],
            unit="watt",
        ),
        rates(
            "Held down",
            "Share of time in which a clock was lower than it could be. power_cap is usual under load; hw_thermal, thermal, power_brake and hw_slowdown are not: look at the fans, the room and the power supply.",
            f"{_GPU}throttle_seconds_total",
            f"{_EACH}, reason",
            unit="percentunit",
        ),
    ],
)
_LINK = Row(
    "PCIe",
    [
        levels(
            "Traffic",
            "Each GPU is measured in turn. High all the time with models on several GPUs: they talk over PCIe, and NVLink or another layout would be faster.",
            f"{_GPU}pcie_bytes_per_second",
            f"{_EACH}, direction",
            unit="Bps",
        ),
        Panel(
            "Lanes it does without",
            "Lanes of the link that a GPU could have, less those it has. More than 0: another slot, a riser or dirty contacts; models load slower.",
            [
                Query(
                    f'max by ({_EACH}) ({_GPU}pcie_link_width{{{OURS}, of="most"}}) - max by ({_EACH}) ({_GPU}pcie_link_width{{{OURS}, of="now"}})',
                    "{{instance}} {{gpu}}",
                )
            ],
        ),
        levels(
            "Generation of the link",
            "Now, and the most it could have. It is lower while a GPU rests.",
            f"{_GPU}pcie_link_generation",
            f"{_EACH}, of",
        ),
        rises(
            "Packets sent again",
            "A link with many of them is not sound: seat the card anew, or change the riser.",
            f"{_GPU}pcie_replays_total",
            _EACH,
        ),
    ],
)
_HEALTH = Row(
    "Health",
    [
        levels(
            "Answering, without a fault",
            "0: it has a fault, or its driver does not answer. It gets no new models.",
            f"{_GPU}up",
            _EACH,
            of="min",
        ),
        Panel(
            "Errors that its driver reported",
            "Xid errors by number since we look; docs/gpus.md says which of them take a GPU out of use.",
            [level(f"{_GPU}xid_errors_total", f"{_EACH}, xid")],
        ),
        Panel(
            "Memory errors",
            "Corrected ones cost nothing but are a warning; one that was not corrected takes the GPU out of use.",
            [level(f"{_GPU}ecc_errors_total", f"{_EACH}, type")],
        ),
        rises(
            "Driver that did not answer",
            "Questions that the driver did not answer in time.",
            f"{_GPU}driver_timeouts_total",
            "instance",
        ),
        Panel(
            "What they are",
            "By box and index.",
            [Query(f"{_GPU}info{{{OURS}}}")],
            kind="table",
            width=16,
            names={
                "gpu": "GPU",
                "name": "Name",
                "uuid": "UUID",
                "driver": "Driver",
                "cuda": "CUDA",
                "vendor": "Vendor",
            },
            hidden=("Value",),
        ),
    ],
)

PAGE = Page(
    "gpus",
    "Appliance: GPUs",
    "Memory, load, heat, power and errors of every GPU, and who is to have the memory.",
    [_MEMORY, _WORK, _HEAT, _LINK, _HEALTH],
)
