from dataclasses import replace
from math import inf

from appliance.domain.targets import Address, Endpoint, Lease
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.observe.log import ExchangeRecord
from appliance.upstream.gaps import Gaps
from tests.fakes.accounts import accounts, exchange, text_of


def test_an_exchange_is_settled_once_whatever_comes_after() -> None:
    opened = exchange()
    opened.done(200)
    opened.failed(GatewayError("backend_died", "x"))
    opened.client_left()
    text = text_of(opened.accounts.metrics)
    assert 'appliance_requests_total{code="200",model="m",operation="chat"} 1.0' in text
    assert "backend_died" not in text
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text


def test_a_model_that_does_not_exist_is_never_a_label_nor_in_flight() -> None:
    from appliance.domain.calls import Operation

    book = accounts()
    opened = book.open(Operation.CHAT, "", None)
    opened.failed(GatewayError("model_not_found", "x"))
    text = text_of(book.metrics)
    assert 'model="_unknown"' in text
    assert "appliance_requests_in_flight{" not in text


def test_the_request_id_is_the_clients_own_or_ours() -> None:
    from appliance.domain.calls import Operation

    assert accounts().open(Operation.CHAT, "", "mine").request_id == "mine"
    assert accounts().open(Operation.CHAT, "", None).request_id.startswith("req_")


def test_the_first_token_is_timed_once() -> None:
    opened = exchange()
    opened.token_seen()
    first = opened.first_token
    opened.token_seen()
    assert opened.first_token == first


def test_pauses_of_an_answer_count_from_its_first_token_on() -> None:
    opened = exchange()
    opened.gaps = Gaps()
    assert opened.gaps.notable == inf
    opened.token_seen()
    opened.gaps.saw(2.0)
    record = told_of(opened)
    assert (record.gap_s, record.stalls) == (2.0, 1)
    assert told_of(exchange()).gap_s == 0


def test_our_own_time_is_what_was_not_spent_on_others() -> None:
    opened = exchange()  # at 0; the fake clock moves on by a second at each look
    opened.arrived, opened.waited, opened.queued, opened.asked = 2.0, 3.0, 4.0, 10.0
    assert told_of(opened).overhead_s == 1.0
    whole = exchange()
    whole.arrived, whole.asked, whole.answered = 2.0, 3.0, 0.5
    assert told_of(whole).overhead_s == 1.5  # it is settled at 1
    assert told_of(exchange()).overhead_s is None, "no engine was asked"


def told_of(opened: Exchange) -> ExchangeRecord:
    told: list[ExchangeRecord] = []
    opened.accounts = replace(opened.accounts, log=told.append)
    opened.done(200)
    return told[0]


def test_the_replica_is_busy_until_the_exchange_is_settled_and_not_a_moment_longer() -> None:
    opened = exchange()
    held: set[Lease] = set()
    first, second = (Lease(Endpoint(Address("unix", "/s")), name, held.discard) for name in ("m@1", "m@2"))
    held |= {first, second}
    opened.hold(first)
    opened.bytes_out = 7
    assert first.relayed == 7
    opened.let_go()
    assert held == {second}, "another attempt uses another replica"
    opened.hold(second)
    opened.done(200)
    assert not held
    assert opened.lease is second, "headers of the reply still name it"
    late = Lease(second.endpoint, "m@3", held.discard)
    held.add(late)
    opened.hold(late)
    assert not held, "a settled exchange can hold nothing"
