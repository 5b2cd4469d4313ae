"""NVIDIA GPUs, through the driver's library (NVML)."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.domain.gpus import Gpu, Holder
from appliance.gpus import faults
from appliance.gpus.processes import command_of, user_of

DRIVER = Path("/proc/driver/nvidia/version")
_MILLI = 1000.0


class NvmlSource:
    """Keeps the library open; to be used in a process that may be killed.

    Args:
        nvml: the module `pynvml`, or what behaves like it.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._indices = {nvml.nvmlDeviceGetUUID(handle): index for index, handle in enumerate(self._handles)}
        self._faults: dict[int, str] = {}  # of Xid errors, which are told once
        self._events = nvml.nvmlEventSetCreate()
        for handle in self._handles:
            with suppress(nvml.NVMLError):  # not every device tells
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)

    def __call__(self) -> list[Gpu]:
        """What the driver says now; a GPU that it cannot talk to is one with a fault."""
        self._collect_xids()
        return [self._gpu(index, handle) for index, handle in enumerate(self._handles)]

    def _collect_xids(self) -> None:
        nvml = self._nvml
        while True:
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
            except nvml.NVMLError:  # the timeout of 0 ms: there are none
                return
            words = faults.of_xid(int(event.eventData))
            index = self._indices.get(self._told(lambda: nvml.nvmlDeviceGetUUID(event.device)) or "")  # noqa: B023 - called at once
            if words and index is not None:
                self._faults[index] = words

    def _gpu(self, index: int, handle: Any) -> Gpu:
        nvml = self._nvml
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError as error:
            return Gpu(index, "", "", 0, 0, 0, fault=f"the driver cannot reach it: {error}")
        use = self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
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
            utilization=use,
            temperature=self._told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            power=None if power is None else power / _MILLI,
        )

    def _memory_fault(self, handle: Any) -> str:
        nvml = self._nvml
        errors = self._told(
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            )
        )
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
