from ipaddress import ip_address, ip_interface, ip_network

import pytest

from appliance.authority.subject import Permitted, Subject, permitted_for, subject_of

LAN = [ip_interface("192.168.7.20/24"), ip_interface("8.8.8.8/16"), ip_interface("fd00::20/64")]


def subject(listen: str = "0.0.0.0", *names: str, machine: str = "gpubox.corp.example") -> Subject:
    return subject_of(names, machine, listen, LAN)


def test_the_machine_is_called_by_its_names_and_those_of_the_configuration() -> None:
    found = subject("0.0.0.0", "LLM.lan.", "10.9.9.9")
    assert found.names == ("llm.lan", "gpubox.corp.example", "gpubox", "gpubox.local", "localhost")
    assert found.words()[-5:] == ["10.9.9.9", "192.168.7.20", "8.8.8.8", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("listen", "addresses"),
    [
        ("0.0.0.0", {"192.168.7.20", "8.8.8.8"}),
        ("::", {"fd00::20"}),
        ("gpubox.corp.example", {"192.168.7.20", "8.8.8.8", "fd00::20"}),
        ("192.168.7.20", {"192.168.7.20"}),
        ("127.0.0.1", set()),
    ],
)
def test_addresses_are_those_at_which_it_listens(listen: str, addresses: set[str]) -> None:
    assert {str(one) for one in subject(listen).addresses} == addresses | {"127.0.0.1", "::1"}


def test_a_name_that_no_certificate_can_hold_is_left_out() -> None:
    assert subject(machine="my box!").names == ("localhost",)


def test_the_name_at_which_it_listens_is_one_of_its_names() -> None:
    assert "llm.other.example" in subject("llm.other.example").names


def test_an_authority_has_private_networks_whole_and_other_addresses_alone() -> None:
    found = permitted_for(subject("0.0.0.0", "192.168.7.99", "10.9.9.9"), LAN)
    assert found.words()[4:] == ["10.9.9.9/32", "192.168.7.0/24", "8.8.8.8/32", "127.0.0.0/8", "::1/128"]


def test_what_an_authority_may_sign_is_its_names_what_is_below_them_and_its_networks() -> None:
    permitted = Permitted(("gpubox.lan",), (ip_network("10.0.0.0/24"),))
    asked = Subject(
        ("gpubox.lan", "a.gpubox.lan", "notgpubox.lan", "lan"), (ip_address("10.0.0.7"), ip_address("10.0.1.7"))
    )
    assert permitted.part_of(asked).words() == ["gpubox.lan", "a.gpubox.lan", "10.0.0.7"]
