from pathlib import Path

import pytest

from appliance.domain.gpus import Vitals
from appliance.gpus.amd import AmdSource


def card(root: Path, number: int, **files: str) -> None:
    device = root / f"card{number}" / "device"
    (device / "hwmon" / "hwmon3").mkdir(parents=True)
    for name, text in files.items():
        spot = device / "hwmon" / "hwmon3" if name[-6:] in ("_input", "verage", "r1_cap", "pwm1") else device
        (spot / name).write_text(text + "\n")


def test_cards_with_memory_of_their_own_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    whole = {"unique_id": "abc", "product_name": "MI300X", "gpu_busy_percent": "42"}
    sensors = {"temp1_input": "51000", "power1_average": "300000000"}
    card(tmp_path, 10, mem_info_vram_total="500", mem_info_vram_used="100")
    card(tmp_path, 2, mem_info_vram_total="900", mem_info_vram_used="300", **whole, **sensors)
    card(tmp_path, 0)  # on board, without memory of its own
    (tmp_path / "card2-DP-1").mkdir()
    first, second = AmdSource(tmp_path)()
    assert (first.index, first.uuid, first.name, first.total, first.used, first.free) == (
        0, "abc", "MI300X", 900, 300, 600,
    )  # fmt: skip
    assert (first.utilization, first.temperature, first.power) == (42, 51, 300)
    assert (second.index, second.name, second.free, second.utilization) == (1, "AMD GPU", 400, None)


def test_how_it_does(tmp_path: Path) -> None:
    memory = {"mem_info_vram_total": "500", "mem_info_vram_used": "100"}
    more = {
        "power1_cap": "750000000",
        "energy1_input": "9000000",
        "freq1_input": "2100000000",
        "freq2_input": "1300000000",
        "pwm1": "51",
        "temp3_input": "84000",
        "mem_busy_percent": "12",
        "current_link_width": "8",
        "max_link_width": "16",
        "current_link_speed": "2.5 GT/s PCIe",
        "max_link_speed": "16.0 GT/s PCIe",
        "pcie_replay_count": "7",
    }
    card(tmp_path, 0, **memory, **more)
    errors = tmp_path / "card0" / "device" / "ras"
    errors.mkdir()
    (errors / "umc_err_count").write_text("ue: 0\nce: 3\nother: x\n")
    card(tmp_path, 1, **memory)
    first, second = AmdSource(tmp_path)()
    assert first.vitals == Vitals(
        750,
        9,
        {"sm": 2.1e9, "memory": 1.3e9},
        ecc={"corrected": 3, "uncorrected": 0},
        fan=20,
        memory_busy=12,
        memory_temperature=84,
        lanes={"now": 8, "most": 16},
        generation={"now": 1, "most": 4},
        replays=7,
    )
    assert second.vitals == Vitals()


def test_a_link_of_a_speed_that_nobody_knows(tmp_path: Path) -> None:
    memory = {"mem_info_vram_total": "500", "mem_info_vram_used": "100"}
    card(tmp_path, 0, **memory, current_link_speed="Unknown", max_link_speed="16.0 GT/s PCIe")
    (gpu,) = AmdSource(tmp_path)()
    assert gpu.vitals.generation == {"most": 4}


def test_a_box_without_any(tmp_path: Path) -> None:
    assert AmdSource(tmp_path)() == []
    assert AmdSource(tmp_path / "none").devices() == []


def test_a_number_that_is_none(tmp_path: Path) -> None:
    card(tmp_path, 0, mem_info_vram_total="?", mem_info_vram_used="1")
    with pytest.raises(ValueError, match="invalid literal"):
        AmdSource(tmp_path)()
