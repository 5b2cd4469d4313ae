"""NVIDIA GPUs, through the driver's library (NVML)."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.domain.gpus import THROTTLES, Gpu, Holder, Vitals
from appliance.gpus import faults
from appliance.gpus.processes import command_of, user_of

DRIVER = Path("/proc/driver/nvidia/version")
_MILLI = 1000.0
_MEGA = 1e6
_KILO = 1000
_LONGEST = 5.0  # seconds between two looks; after a longer pause nobody knows what was in between
# nvml.h: nvmlClocksEventReason*. What is no throttling is left out: idle, and clocks that somebody has set.
_REASONS = dict(zip(THROTTLES, (0x04, 0x20, 0x40, 0x80, 0x08, 0x10), strict=True))


class NvmlSource:
    """Keeps the library open; to be used in a process that may be killed.

    Args:
        nvml: the module `pynvml`, or what behaves like it.
        clock: monotonic seconds.
    """

    def __init__(self, nvml: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self._looked = clock()
        self._passed = 0.0  # seconds from the look before to this one
        nvml.nvmlInit()
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._indices = {nvml.nvmlDeviceGetUUID(handle): index for index, handle in enumerate(self._handles)}
        self._faults: dict[int, str] = {}  # of Xid errors, which are told once
        self._xids: dict[int, Counter[int]] = {index: Counter() for index in range(len(self._handles))}
        self._throttled: dict[int, dict[str, float]] = {index: {} for index in range(len(self._handles))}
        self._traffic: dict[int, dict[str, float]] = {index: {} for index in range(len(self._handles))}
        self._measured = -1  # the GPU whose traffic was measured last
        self._driver = self._told(nvml.nvmlSystemGetDriverVersion) or ""
        self._cuda = _cuda(self._told(nvml.nvmlSystemGetCudaDriverVersion_v2))
        self._events = nvml.nvmlEventSetCreate()
        for handle in self._handles:
            with suppress(nvml.NVMLError):  # not every device tells
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)

    def __call__(self) -> list[Gpu]:
        """What the driver says now; a GPU that it cannot talk to is one with a fault."""
        self._collect_xids()
        now = self._clock()
        self._passed, self._looked = min(now - self._looked, _LONGEST), now
        self._measure()
        return [self._gpu(index, handle) for index, handle in enumerate(self._handles)]

    def _collect_xids(self) -> None:
        nvml = self._nvml
        while True:
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
            except nvml.NVMLError:  # the timeout of 0 ms: there are none
                return
            index = self._indices.get(self._told(lambda: nvml.nvmlDeviceGetUUID(event.device)) or "")  # noqa: B023 - called at once
            if index is None:
                continue
            self._xids[index][int(event.eventData)] += 1
            if words := faults.of_xid(int(event.eventData)):
                self._faults[index] = words

    def _measure(self) -> None:
        """The traffic of one GPU in turn: the library watches each direction for 20 ms, too long for all at once."""
        nvml = self._nvml
        if not self._handles:
            return
        at = self._measured = (self._measured + 1) % len(self._handles)
        for name, way in (("sent", nvml.NVML_PCIE_UTIL_TX_BYTES), ("received", nvml.NVML_PCIE_UTIL_RX_BYTES)):
            kilobytes = self._told(lambda: nvml.nvmlDeviceGetPcieThroughput(self._handles[at], way))  # noqa: B023 - called at once
            if kilobytes is None:
                self._traffic[at].pop(name, None)
            else:
                self._traffic[at][name] = kilobytes * _KILO

    def _gpu(self, index: int, handle: Any) -> Gpu:
        nvml = self._nvml
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError as error:
            return Gpu(index, "", "", 0, 0, 0, fault=f"the driver cannot reach it: {error}")
        use = self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        power = self._told(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return Gpu(
            index,
            uuid,
            name,
            memory.total,
            memory.used,
            memory.free,
            tuple(self._holders(handle)),
            fault=self._faults.get(index, "") or self._memory_fault(handle),
            vitals=self._vitals(index, handle, None if use is None else use.memory),
            utilization=None if use is None else use.gpu,
            temperature=self._told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            power=None if power is None else power / _MILLI,
            vendor="nvidia",
            driver=self._driver,
            cuda=self._cuda,
        )

    def _vitals(self, index: int, handle: Any, memory_busy: float | None) -> Vitals:
        nvml = self._nvml
        limit = self._told(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        energy = self._told(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        clocks = {
            name: self._told(lambda: nvml.nvmlDeviceGetClockInfo(handle, domain))  # noqa: B023 - called at once
            for name, domain in (("sm", nvml.NVML_CLOCK_SM), ("memory", nvml.NVML_CLOCK_MEM))
        }
        errors = {
            name: self._errors(handle, kind)
            for name, kind in (
                ("corrected", nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
                ("uncorrected", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
            )
        }
        return Vitals(
            None if limit is None else limit / _MILLI,
            None if energy is None else energy / _MILLI,
            {name: megahertz * _MEGA for name, megahertz in clocks.items() if megahertz is not None},
            self._held_down(index, handle),
            {name: count for name, count in errors.items() if count is not None},
            dict(self._xids[index]),
            self._told(lambda: nvml.nvmlDeviceGetFanSpeed(handle)),
            memory_busy,
            self._memory_temperature(handle),
            self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2).reserved),
            dict(self._traffic[index]),
            self._both(handle, nvml.nvmlDeviceGetCurrPcieLinkWidth, nvml.nvmlDeviceGetMaxPcieLinkWidth),
            self._both(handle, nvml.nvmlDeviceGetCurrPcieLinkGeneration, nvml.nvmlDeviceGetMaxPcieLinkGeneration),
            self._told(lambda: nvml.nvmlDeviceGetPcieReplayCounter(handle)),
        )

    def _both(self, handle: Any, now: Callable[[Any], Any], most: Callable[[Any], Any]) -> dict[str, int]:
        found = {"now": self._told(lambda: now(handle)), "most": self._told(lambda: most(handle))}
        return {name: value for name, value in found.items() if value is not None}

    def _memory_temperature(self, handle: Any) -> float | None:
        nvml = self._nvml
        values = self._told(lambda: nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_MEMORY_TEMP]))
        if not values or values[0].nvmlReturn != nvml.NVML_SUCCESS:
            return None
        return float(values[0].value.uiVal) or None  # devices that cannot tell have been seen to say 0

    def _held_down(self, index: int, handle: Any) -> dict[str, float]:
        """Seconds by reason: each look stands for the time since the one before."""
        found = self._throttled[index]
        reasons = self._told(lambda: self._nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        if reasons is not None:
            for name, bit in _REASONS.items():
                found[name] = found.get(name, 0.0) + (self._passed if reasons & bit else 0.0)
        return dict(found)

    def _errors(self, handle: Any, kind: int) -> Any:
        nvml = self._nvml
        return self._told(lambda: nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC))

    def _memory_fault(self, handle: Any) -> str:
        nvml = self._nvml
        errors = self._errors(handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
        remapped = self._told(lambda: nvml.nvmlDeviceGetRemappedRows(handle))
        return faults.of_memory(uncorrected=errors or 0, remap_failed=bool(remapped and remapped[3]))

    def _holders(self, handle: Any) -> list[Holder]:
        nvml = self._nvml
        held: dict[int, int] = {}
        for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in self._told(lambda: ask(handle)) or ():  # noqa: B023 - called at once
                held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory or 0)
        return [Holder(pid, user_of(pid), command_of(pid), size) for pid, size in sorted(held.items())]

    def _told(self, ask: Callable[[], Any]) -> Any:
        """What not every device, driver or user is told."""
        try:
            return ask()
        except self._nvml.NVMLError:
            return None


def _cuda(version: int | None) -> str:
    """12080 is 12.8."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""
