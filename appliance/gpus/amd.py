"""AMD GPUs, as the amdgpu driver shows them in sysfs. Who holds their memory is not told there."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.domain.gpus import Gpu, Vitals

DRM = Path("/sys/class/drm")
_CARD = "card[0-9]*"
# Gigatransfers a second and lane, by generation of PCIe.
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
_FULL_SPEED = 255  # of a fan, in the kernel's measure
T = TypeVar("T")


class AmdSource:
    """Reads sysfs anew each time; `root` is /sys/class/drm."""

    def __init__(self, root: Path = DRM) -> None:
        self._root = root

    def devices(self) -> list[Path]:
        """The directories of the cards that have memory of their own, in the order of their numbers."""
        cards = [card for card in self._root.glob(_CARD) if card.name[4:].isdigit()]
        cards.sort(key=lambda card: int(card.name[4:]))
        return [card / "device" for card in cards if (card / "device" / "mem_info_vram_total").exists()]

    def __call__(self) -> list[Gpu]:
        """What the driver says now.

        Raises:
            OSError: a card has gone.
            ValueError: a number is none.
        """
        return [_gpu(index, device) for index, device in enumerate(self.devices())]


def _gpu(index: int, device: Path) -> Gpu:
    total = int((device / "mem_info_vram_total").read_text())
    used = int((device / "mem_info_vram_used").read_text())
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device)
    return Gpu(
        index,
        _first(device / "unique_id", str.strip) or device.resolve().name,
        _first(device / "product_name", str.strip) or "AMD GPU",
        total,
        used,
        total - used,
        utilization=_first(device / "gpu_busy_percent", float),
        temperature=_scaled(sensors / "temp1_input", 1e3),
        power=_scaled(sensors / "power1_average", 1e6),
        vitals=_vitals(device, sensors),
        vendor="amd",
    )


def _vitals(device: Path, sensors: Path) -> Vitals:
    """Linux, Documentation/gpu/amdgpu/thermal.rst, driver-misc.rst and ras.rst, and ABI/testing/sysfs-bus-pci.

    Traffic is left out: `pcie_bw` watches for a whole second before it answers.
    """
    errors = device / "ras" / "umc_err_count"
    clocks = {"sm": _first(sensors / "freq1_input", float), "memory": _first(sensors / "freq2_input", float)}
    counts = dict(line.split(": ") for line in (_first(errors, str) or "").splitlines() if ": " in line)
    words = {"ce": "corrected", "ue": "uncorrected"}
    return Vitals(
        _scaled(sensors / "power1_cap", 1e6),
        _scaled(sensors / "energy1_input", 1e6),
        {name: hertz for name, hertz in clocks.items() if hertz is not None},
        ecc={words[name]: int(count) for name, count in counts.items() if name in words and count.isdigit()},
        fan=_scaled(sensors / "pwm1", _FULL_SPEED / 100),
        memory_busy=_first(device / "mem_busy_percent", float),
        memory_temperature=_scaled(sensors / "temp3_input", 1e3),
        lanes=_both(device, "link_width", int),
        generation=_both(device, "link_speed", _generation),
        replays=_first(device / "pcie_replay_count", int),
    )


def _both(device: Path, what: str, kind: Callable[[str], int]) -> dict[str, int]:
    found = {"now": _first(device / f"current_{what}", kind), "most": _first(device / f"max_{what}", kind)}
    return {name: value for name, value in found.items() if value is not None}


def _generation(text: str) -> int:
    """Of "16.0 GT/s PCIe"."""
    speed = text.partition(" ")[0].strip()
    if speed not in _GENERATIONS:
        raise ValueError(text)
    return _GENERATIONS[speed]


def _first(path: Path, kind: Callable[[str], T]) -> T | None:
    try:
        return kind(path.read_text())
    except (OSError, ValueError):
        return None


def _scaled(path: Path, unit: float) -> float | None:
    value = _first(path, float)
    return None if value is None else value / unit
