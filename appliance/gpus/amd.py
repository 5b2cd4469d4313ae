"""AMD GPUs, as the amdgpu driver shows them in sysfs. Who holds their memory is not told there."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.domain.gpus import Gpu, Vitals

DRM = Path("/sys/class/drm")
_CARD = "card[0-9]*"
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
        vitals=_vitals(sensors, device / "ras" / "umc_err_count"),
    )


def _vitals(sensors: Path, errors: Path) -> Vitals:
    """Linux, Documentation/gpu/amdgpu/thermal.rst and ras.rst."""
    clocks = {"sm": _first(sensors / "freq1_input", float), "memory": _first(sensors / "freq2_input", float)}
    counts = dict(line.split(": ") for line in (_first(errors, str) or "").splitlines() if ": " in line)
    words = {"ce": "corrected", "ue": "uncorrected"}
    return Vitals(
        _scaled(sensors / "power1_cap", 1e6),
        _scaled(sensors / "energy1_input", 1e6),
        {name: hertz for name, hertz in clocks.items() if hertz is not None},
        ecc={words[name]: int(count) for name, count in counts.items() if name in words and count.isdigit()},
    )


def _first(path: Path, kind: Callable[[str], T]) -> T | None:
    try:
        return kind(path.read_text())
    except (OSError, ValueError):
        return None


def _scaled(path: Path, unit: float) -> float | None:
    value = _first(path, float)
    return None if value is None else value / unit
