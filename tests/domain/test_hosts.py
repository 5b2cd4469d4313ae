from ipaddress import ip_address

import pytest

from appliance.domain.hosts import as_address, is_host_name


@pytest.mark.parametrize("text", ["gpubox", "GPUBOX.lan", "a-b.c_d.example", "1password.example", "x" * 63])
def test_host_names(text: str) -> None:
    assert is_host_name(text)
    assert as_address(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "https://gpubox", "gpubox:8000", "*.lan", "a..b", "-a", "gpu box", "büro.lan", "x" * 64, "x." * 127 + "y"],
)
def test_what_is_no_host_name(text: str) -> None:
    assert not is_host_name(text)
    assert as_address(text) is None


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "[fd00::1]"])
def test_addresses(text: str) -> None:
    assert as_address(text) == ip_address(text.strip("[]"))
    assert not is_host_name(text)


def test_an_address_of_an_interface_is_for_this_machine_alone() -> None:
    assert as_address("fe80::1%eth0") is None
