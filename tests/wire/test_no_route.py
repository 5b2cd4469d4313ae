import pytest

from appliance.wire.no_route import is_no_route

ABSENT = [
    b'{"detail":"Not Found"}',
    b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}',
    b'{"error":{"code":404,"message":"Not Found","type":""}}',
    b'{"error":{"message":"Invalid URL (POST /v1/x)","type":"invalid_request_error","param":null,"code":null}}',
    b'{"error":"Not Found"}',
    b"404 page not found",
    b"<html><body>404</body></html>",
    b"",
]
PRESENT = [
    b'{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}',
    b'{"error":{"message":"Response with id \'resp_1\' not found.","code":404}}',
    b'{"error":{"message":"The model \'x\' does not exist","code":"model_not_found"}}',
    b'{"error":"model \\"x\\" not found, try pulling it first"}',
    b'{"detail":["odd"]}',
]


@pytest.mark.parametrize("body", ABSENT)
def test_a_404_about_nothing_in_particular_is_about_the_route(body: bytes) -> None:
    assert is_no_route(404, body)


@pytest.mark.parametrize("body", PRESENT)
def test_a_404_about_something_is_the_answer(body: bytes) -> None:
    assert not is_no_route(404, body)


@pytest.mark.parametrize("status", [405, 501])
def test_these_say_it_by_their_status(status: int) -> None:
    assert is_no_route(status, PRESENT[0])


@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_these_never_do(status: int) -> None:
    assert not is_no_route(status, ABSENT[0])
