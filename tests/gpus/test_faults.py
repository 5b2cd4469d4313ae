import pytest

from appliance.gpus import faults


@pytest.mark.parametrize("number", [48, 64, 74, 79, 95, 119, 120])
def test_what_a_gpu_does_not_come_back_from_is_told_with_its_cure(number: int) -> None:
    words = faults.of_xid(number)
    assert f"Xid {number}" in words
    assert "reset" in words


@pytest.mark.parametrize("number", [0, 13, 31, 43, 45, 63, 92, 94])
def test_what_is_about_one_program_or_was_corrected_is_no_fault(number: int) -> None:
    assert faults.of_xid(number) == ""


def test_memory_that_cannot_be_trusted() -> None:
    assert faults.of_memory(uncorrected=0, remap_failed=False) == ""
    assert faults.of_memory(uncorrected=3, remap_failed=False).startswith("3 uncorrected ECC errors")
    assert "remapped" in faults.of_memory(uncorrected=3, remap_failed=True)
