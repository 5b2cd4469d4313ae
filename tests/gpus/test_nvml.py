"""The driver's library is not here; what it would answer is."""
# ruff: noqa: N802, N815 - the names are the library's

import os
from types import SimpleNamespace
from typing import Any

from appliance.domain.gpus import THROTTLES, Vitals
from appliance.gpus.nvml import NvmlSource


class NVMLError(Exception):
    """As the library's own."""


class Library:
    """Behaves like `pynvml` with two GPUs."""

    NVMLError = NVMLError
    nvmlEventTypeXidCriticalError = 8
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_VOLATILE_ECC = 0
    NVML_PCIE_UTIL_TX_BYTES = 0
    NVML_PCIE_UTIL_RX_BYTES = 1
    NVML_FI_DEV_MEMORY_TEMP = 82
    NVML_SUCCESS = 0
    nvmlMemory_v2 = 0x02000028

    def __init__(self) -> None:
        self.xids: list[tuple[int, int]] = []  # (GPU, number)
        self.lost: set[int] = set()
        self.refused: set[str] = set()
        self.processes = {0: [(os.getpid(), 500)], 1: []}
        self.graphics: dict[int, list[tuple[int, int | None]]] = {0: [(os.getpid(), 400), (1, None)], 1: []}
        self.uncorrected = 0
        self.reasons = 0
        self.measured: list[int] = []  # GPUs whose traffic was
        self.memory_heat: tuple[int, int] = (0, 78)  # what came of it, and degrees
        self.remapped = (0, 0, 0, 0)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def ask(*args: Any) -> Any:
            if name in self.refused:
                raise NVMLError(f"{name}: not supported")
            return getattr(self, "_" + name.removeprefix("nvmlDevice").removeprefix("nvml"), lambda *_: None)(*args)

        return ask

    def _GetCount(self) -> int:
        return 2

    def _GetHandleByIndex(self, index: int) -> int:
        return index

    def _GetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def _GetName(self, handle: int) -> str:
        return "H100"

    def _GetMemoryInfo(self, handle: int, version: int = 0) -> Any:
        if handle in self.lost:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(total=1000, used=600, free=400, **({"reserved": 50} if version else {}))

    def _SystemGetDriverVersion(self) -> str:
        return "570.86.10"

    def _SystemGetCudaDriverVersion_v2(self) -> int:
        return 12080

    def _GetFanSpeed(self, handle: int) -> int:
        return 40

    def _GetFieldValues(self, handle: int, fields: list[int]) -> Any:
        assert fields == [self.NVML_FI_DEV_MEMORY_TEMP]
        came, degrees = self.memory_heat
        return [SimpleNamespace(nvmlReturn=came, value=SimpleNamespace(uiVal=degrees))]

    def _GetPcieThroughput(self, handle: int, counter: int) -> int:
        self.measured.append(handle)
        return 1000 + counter

    def _GetCurrPcieLinkWidth(self, handle: int) -> int:
        return 8

    def _GetMaxPcieLinkWidth(self, handle: int) -> int:
        return 16

    def _GetCurrPcieLinkGeneration(self, handle: int) -> int:
        return 1

    def _GetMaxPcieLinkGeneration(self, handle: int) -> int:
        return 5

    def _GetPcieReplayCounter(self, handle: int) -> int:
        return 3

    def _GetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=97, memory=30)

    def _GetTemperature(self, handle: int, sensor: int) -> int:
        return 66

    def _GetPowerUsage(self, handle: int) -> int:
        return 350_000

    def _GetTotalEccErrors(self, handle: int, kind: int, counter: int) -> int:
        return self.uncorrected if kind == self.NVML_MEMORY_ERROR_TYPE_UNCORRECTED else 9

    def _GetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def _GetTotalEnergyConsumption(self, handle: int) -> int:
        return 5_000_500

    def _GetClockInfo(self, handle: int, domain: int) -> int:
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[domain]

    def _GetCurrentClocksEventReasons(self, handle: int) -> int:
        return self.reasons if handle == 0 else 0

    def _GetRemappedRows(self, handle: int) -> tuple[int, ...]:
        return self.remapped

    def _GetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.processes[handle]]

    def _GetGraphicsRunningProcesses(self, handle: int) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.graphics[handle]]

    def _EventSetWait_v2(self, events: object, milliseconds: int) -> Any:
        assert milliseconds == 0
        if not self.xids:
            raise NVMLError("timeout")
        gpu, number = self.xids.pop(0)
        return SimpleNamespace(device=gpu, eventData=number)


def test_a_whole_look() -> None:
    first, second = NvmlSource(Library())()
    assert (first.index, first.uuid, first.name, first.total, first.used, first.free) == (
        0, "GPU-0", "H100", 1000, 600, 400,
    )  # fmt: skip
    assert (first.utilization, first.temperature, first.power, first.fault) == (97, 66, 350, "")
    assert [(holder.pid, holder.bytes) for holder in first.holders] == [(1, 0), (os.getpid(), 500)]
    assert first.holders[1].command != "?"
    assert second.holders == ()


def test_how_it_does() -> None:
    library = Library()
    look = NvmlSource(library)
    library.xids = [(1, 31), (1, 31), (1, 94)]
    first, second = (gpu.vitals for gpu in look())
    assert (first.power_limit, first.energy) == (700, 5000.5)
    assert first.clocks == {"sm": 1980e6, "memory": 2619e6}
    assert first.ecc == {"corrected": 9, "uncorrected": 0}
    assert (first.xids, second.xids) == ({}, {31: 2, 94: 1})
    assert look()[1].vitals.xids == {31: 2, 94: 1}
    assert (first.fan, first.memory_busy, first.memory_temperature, first.memory_reserved) == (40, 30, 78, 50)
    assert (first.lanes, first.generation, first.replays) == ({"now": 8, "most": 16}, {"now": 1, "most": 5}, 3)


def test_what_it_is() -> None:
    first = NvmlSource(Library())()[0]
    assert (first.vendor, first.driver, first.cuda) == ("nvidia", "570.86.10", "12.8")


def test_the_traffic_of_one_gpu_is_measured_at_a_time_as_that_takes_a_while() -> None:
    library = Library()
    look = NvmlSource(library)
    whole = {"sent": 1_000_000, "received": 1_001_000}
    assert [gpu.vitals.traffic for gpu in look()] == [whole, {}]
    assert [gpu.vitals.traffic for gpu in look()] == [whole, whole]
    assert library.measured == [0, 0, 1, 1]
    look()
    assert library.measured[4:] == [0, 0]


def test_a_temperature_of_memory_that_is_not_told_is_none() -> None:
    library = Library()
    library.memory_heat = (3, 0)
    assert NvmlSource(library)()[0].vitals.memory_temperature is None
    library.memory_heat = (0, 0)
    assert NvmlSource(library)()[0].vitals.memory_temperature is None


def test_each_look_stands_for_the_time_since_the_one_before() -> None:
    library, now = Library(), 100.0
    look = NvmlSource(library, lambda: now)
    library.reasons = 0x01 | 0x04 | 0x40  # idle is no throttling
    now = 101.0
    assert look()[0].vitals.throttled == dict.fromkeys(THROTTLES, 0.0) | {"power_cap": 1.0, "hw_thermal": 1.0}
    library.reasons = 0x80
    now = 102.5
    throttled = look()[0].vitals.throttled
    assert (throttled["hw_thermal"], throttled["power_brake"]) == (1.0, 1.5)
    now = 1000.0  # nobody looked for a quarter of an hour
    first, second = look()
    assert first.vitals.throttled["power_brake"] == 1.5 + 5.0
    assert set(second.vitals.throttled.values()) == {0.0}


def test_an_error_that_is_told_once_is_remembered() -> None:
    library = Library()
    look = NvmlSource(library)
    library.xids = [(1, 31), (1, 79)]
    assert "Xid 79" in look()[1].fault
    assert "Xid 79" in look()[1].fault
    assert look()[0].fault == ""


def test_memory_that_fails() -> None:
    library = Library()
    look = NvmlSource(library)
    library.uncorrected = 2
    assert "2 uncorrected ECC errors" in look()[0].fault
    library.uncorrected, library.remapped = 0, (1, 1, 0, 1)
    assert "remapped" in look()[0].fault


def test_a_gpu_that_is_lost_is_one_with_a_fault() -> None:
    library = Library()
    look = NvmlSource(library)
    library.lost.add(0)
    assert "the driver cannot reach it" in look()[0].fault
    assert look()[1].fault == ""


def test_what_a_device_does_not_tell_is_unknown() -> None:
    library = Library()
    library.refused = {
        "nvmlDeviceRegisterEvents", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetRemappedRows", "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetGraphicsRunningProcesses", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetFanSpeed",
        "nvmlDeviceGetFieldValues", "nvmlDeviceGetPcieThroughput", "nvmlDeviceGetCurrPcieLinkWidth",
        "nvmlDeviceGetMaxPcieLinkWidth", "nvmlDeviceGetCurrPcieLinkGeneration", "nvmlDeviceGetMaxPcieLinkGeneration",
        "nvmlDeviceGetPcieReplayCounter", "nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2",
    }  # fmt: skip
    gpu = NvmlSource(library)()[0]
    assert (gpu.utilization, gpu.temperature, gpu.power, gpu.fault, gpu.holders) == (None, None, None, "", ())
    assert gpu.vitals == Vitals(memory_reserved=50)
    assert (gpu.driver, gpu.cuda) == ("", "")
