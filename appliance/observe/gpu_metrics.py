"""How the GPUs do. What a driver does not tell is not there, and what it does not tell any more is gone.

Of a GPU that cannot be read there is only that it is not up, what it was, and what was counted: counters that went and
came back would look like errors that have just happened.
"""

from collections.abc import Sequence

from appliance.domain.gpus import THROTTLES, Gpu
from appliance.observe.maker import Maker

_MOST_XIDS = 64  # different ones of one GPU; the drivers of November 2026 know some 170, and a box sees a handful
_DOMAINS = ("sm", "memory")
_ERRORS = ("corrected", "uncorrected")
_WAYS = ("sent", "received")
_LINK = ("now", "most")


class GpuMetrics:
    """The families, and what is told to them."""

    def __init__(self, make: Maker) -> None:
        self._info = make.gauge(
            "appliance_gpu_info", "Always 1; what a GPU is.", "gpu", "uuid", "name", "vendor", "driver", "cuda"
        )
        self._up = make.gauge("appliance_gpu_up", "1 while a GPU answers and has no fault.", "gpu")
        self._total = make.gauge("appliance_gpu_memory_total_bytes", "Memory of a GPU.", "gpu")
        self._used = make.gauge("appliance_gpu_memory_used_bytes", "Memory of a GPU in use, by anybody.", "gpu")
        self._busy = make.gauge("appliance_gpu_utilization_ratio", "Share of time a GPU was busy.", "gpu")
        self._heat = make.gauge("appliance_gpu_temperature_celsius", "Temperature of a GPU.", "gpu")
        self._power = make.gauge("appliance_gpu_power_watts", "Power that a GPU draws.", "gpu")
        self._limit = make.gauge("appliance_gpu_power_limit_watts", "Power that a GPU may draw.", "gpu")
        self._clock = make.gauge("appliance_gpu_clock_hertz", "Clock of a GPU now.", "gpu", "domain")
        self._energy = make.counter(
            "appliance_gpu_energy_joules_total", "Energy that a GPU has used since its driver was loaded.", "gpu"
        )
        self._throttled = make.counter(
            "appliance_gpu_throttle_seconds_total", "Time in which a GPU's clock was held down.", "gpu", "reason"
        )
        self._ecc = make.counter(
            "appliance_gpu_ecc_errors_total", "Memory errors of a GPU since its driver was loaded.", "gpu", "type"
        )
        self._xids = make.counter(
            "appliance_gpu_xid_errors_total", "Xid errors that a GPU's driver has reported.", "gpu", "xid"
        )
        self._reserved = make.gauge(
            "appliance_gpu_memory_reserved_bytes", "Memory of a GPU that its driver keeps for itself.", "gpu"
        )
        self._memory_busy = make.gauge(
            "appliance_gpu_memory_utilization_ratio", "Share of time a GPU's memory was read or written.", "gpu"
        )
        self._memory_heat = make.gauge(
            "appliance_gpu_memory_temperature_celsius", "Temperature of a GPU's memory.", "gpu"
        )
        self._fan = make.gauge("appliance_gpu_fan_ratio", "Share of a GPU's fans' full speed.", "gpu")
        self._traffic = make.gauge(
            "appliance_gpu_pcie_bytes_per_second", "Traffic of a GPU over PCIe, by its direction.", "gpu", "direction"
        )
        self._lanes = make.gauge(
            "appliance_gpu_pcie_link_width", "Lanes of a GPU's PCIe link now, and the most it could have.", "gpu", "of"
        )
        self._generation = make.gauge(
            "appliance_gpu_pcie_link_generation",
            "Generation of a GPU's PCIe link now, which is lower while it rests, and the most it could have.",
            "gpu",
            "of",
        )
        self._replays = make.counter(
            "appliance_gpu_pcie_replays_total", "PCIe packets of a GPU that had to be sent again.", "gpu"
        )
        self._timeouts = make.counter(
            "appliance_gpu_driver_timeouts_total", "Questions that the GPU driver did not answer in time."
        )
        self._now = (
            self._total, self._used, self._busy, self._heat, self._power, self._limit, self._clock, self._reserved,
            self._memory_busy, self._memory_heat, self._fan, self._traffic, self._lanes, self._generation,
        )  # fmt: skip

    def seen(self, gpus: Sequence[Gpu], timeouts: int) -> None:
        """The GPUs were looked at; `timeouts` is how often their driver did not answer so far."""
        self._timeouts[()].value = timeouts
        for series in self._now:
            series.clear()
        for up in self._up.values():
            up.value = 0
        for gpu in gpus:
            index = str(gpu.index)
            self._is(index, gpu)
            self._up[index,].value = gpu.known and not gpu.fault
            if gpu.known and gpu.uuid:
                self._one(gpu, index)

    def _one(self, gpu: Gpu, index: str) -> None:
        vitals = gpu.vitals
        self._total[index,].value = gpu.total
        self._used[index,].value = gpu.used
        for series, value in (
            (self._busy, _share(gpu.utilization)),
            (self._memory_busy, _share(vitals.memory_busy)),
            (self._fan, _share(vitals.fan)),
            (self._reserved, vitals.memory_reserved),
            (self._memory_heat, vitals.memory_temperature),
            (self._replays, vitals.replays),
            (self._heat, gpu.temperature),
            (self._power, gpu.power),
            (self._limit, vitals.power_limit),
            (self._energy, vitals.energy),
        ):
            if value is not None:
                series[index,].value = value
        for closed, family, told in (
            (_DOMAINS, self._clock, vitals.clocks),
            (THROTTLES, self._throttled, vitals.throttled),
            (_ERRORS, self._ecc, vitals.ecc),
            (_WAYS, self._traffic, vitals.traffic),
            (_LINK, self._lanes, vitals.lanes),
            (_LINK, self._generation, vitals.generation),
        ):
            for name in closed:
                if name in told:
                    family[index, name].value = told[name]
        for xid in sorted(vitals.xids)[:_MOST_XIDS]:
            self._xids[index, str(xid)].value = vitals.xids[xid]

    def _is(self, index: str, gpu: Gpu) -> None:
        """One series for each index, which others are joined with; what cannot be reached any more is what it was."""
        labels = (index, gpu.uuid, gpu.name, gpu.vendor, gpu.driver, gpu.cuda)
        if labels not in self._info:
            former = [known for known in self._info if known[0] == index]
            if former and not gpu.uuid:
                return
            for known in former:
                del self._info[known]
        self._info[labels].value = 1


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
