from dataclasses import replace

from appliance.domain.targets import Address, Endpoint, Lease
from appliance.gateway.served import served_by
from tests.fakes.accounts import accounts, exchange


def test_everything_that_is_known_is_told() -> None:
    opened = exchange("m")
    opened.lease = Lease(Endpoint(Address("unix", "/s")), "m@2", chosen="prefix")
    opened.started, opened.asked = -2.5, -0.5
    told = dict(served_by(opened))
    engine = float(told.pop("x-gateway-engine-ms"))
    assert told == {
        "x-gateway-model": "m",
        "x-gateway-target": "box/m",
        "x-gateway-replica": "m@2",
        "x-gateway-balance": "prefix",
        "x-gateway-queue-ms": "2000.0",
    }
    assert engine > 0


def test_what_is_not_known_yet_is_not_told() -> None:
    opened = exchange("m")
    opened.target = ""
    assert served_by(opened) == [("x-gateway-model", "m")]


def test_a_name_that_no_header_can_hold_is_left_out() -> None:
    opened = exchange("m")
    opened.target = "box/größer"
    assert served_by(opened) == [("x-gateway-model", "m")]


def test_a_name_that_a_client_made_up_is_not_repeated() -> None:
    from appliance.domain.calls import Operation

    assert served_by(accounts().open(Operation.CHAT, "", None)) == []


def test_it_can_be_switched_off() -> None:
    opened = exchange("m")
    opened.accounts = replace(opened.accounts, explain=False)
    assert served_by(opened) == []
