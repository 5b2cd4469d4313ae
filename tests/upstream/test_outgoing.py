import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.upstream.connection import OutRequest
from appliance.upstream.outgoing import Outgoing, end_to_end

UNIX = Endpoint(Address("unix", "/run/s"))


def request(number: int, *headers: tuple[str, str], body: bytes = b"") -> OutRequest:
    return OutRequest("POST", "/v1/x", [("content-type", "a/b"), *headers], body, f"r{number}")


def test_only_the_request_id_and_the_length_differ_between_two_requests_of_a_kind() -> None:
    outgoing = Outgoing(UNIX)
    for number, body in enumerate((b"", b"abc", b"d")):
        out = outgoing.prepare(request(number, body=body))
        assert out.body is body
        assert (
            out.head
            == (
                f"POST /v1/x HTTP/1.1\r\nhost: localhost\r\nx-request-id: r{number}\r\ncontent-type: a/b\r\n"
                f"accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
            ).encode()
        )
    assert len(outgoing._templates) == 1


def test_another_header_path_or_method_is_another_head() -> None:
    outgoing = Outgoing(UNIX)
    heads = {
        outgoing.prepare(out).head
        for out in (
            OutRequest("GET", "/a"),
            OutRequest("GET", "/b"),
            OutRequest("POST", "/a"),
            OutRequest("GET", "/a", [("b", "c")]),
            OutRequest("GET", "/a", [("b", "d")]),
            OutRequest("GET", "/a", request_id="c"),
            OutRequest("GET", "/a", [("x-request-id", "d")], request_id="c"),
        )
    }
    assert len(heads) == 7


def test_credential_host_and_framing_are_ours() -> None:
    endpoint = Endpoint(Address("http", "box", 81, "/sub"), Secret("sk-1"))
    theirs = [("Authorization", "x"), ("Host", "x"), ("Content-Length", "9"), ("Transfer-Encoding", "x"), ("TE", "x")]
    assert Outgoing(endpoint).prepare(OutRequest("GET", "/y", theirs)).head == (
        b"GET /sub/y HTTP/1.1\r\nhost: box:81\r\naccept-encoding: identity\r\nauthorization: Bearer sk-1\r\n\r\n"
    )
    kept = Outgoing(UNIX).prepare(OutRequest("GET", "/y", [("authorization", "theirs")])).head
    assert b"authorization: theirs\r\n" in kept


def test_neither_prompt_nor_credential_is_in_the_repr() -> None:
    out = Outgoing(Endpoint(UNIX.address, Secret("sk-1"))).prepare(request(1, body=b"prompt"))
    assert "sk-1" not in repr(out)
    assert "prompt" not in repr(out)


def test_for_https_the_parts_are_prepared_and_no_head_is_rendered() -> None:
    out = Outgoing(Endpoint(Address("https", "box", 443, "/sub"), Secret("s"))).prepare(request(1, body=b"b"))
    assert (out.path, out.body, out.head) == ("/sub/v1/x", b"b", b"")
    assert out.headers[1:] == [
        ("accept-encoding", "identity"),
        ("authorization", "Bearer s"),
        ("x-request-id", "r1"),
    ]


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=3), st.text(max_size=5))
def test_no_header_and_no_request_id_adds_a_line(headers: list[tuple[str, str]], number: str) -> None:
    outgoing = Outgoing(UNIX)
    for _ in range(2):
        try:
            head = outgoing.prepare(OutRequest("POST", "/", headers, request_id=number)).head
        except ValueError:
            continue
        assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n") <= 6 + len(headers)


@pytest.mark.parametrize("bad", ["r\r\nx: y", "\0", "€"])
def test_a_bad_request_id_is_refused_also_when_the_rest_is_known(bad: str) -> None:
    outgoing = Outgoing(UNIX)
    outgoing.prepare(request(1))
    with pytest.raises(ValueError):
        outgoing.prepare(OutRequest("POST", "/v1/x", [("content-type", "a/b")], request_id=bad))


def test_the_memory_of_heads_is_bounded() -> None:
    outgoing = Outgoing(UNIX)
    for number in range(1000):
        assert f"/{number} ".encode() in outgoing.prepare(OutRequest("GET", f"/{number}")).head
    assert len(outgoing._templates) <= 64


def test_a_form_does_not_push_out_what_is_remembered() -> None:
    outgoing = Outgoing(UNIX)
    outgoing.prepare(OutRequest("POST", "/v1/x", [("content-type", "application/json")]))
    for number in range(100):
        kind = f"multipart/form-data; boundary={number}"
        head = outgoing.prepare(OutRequest("POST", "/v1/x", [("content-type", kind)], b"x")).head
        assert f"boundary={number}\r\n".encode() in head
    assert len(outgoing._templates) == 1


def test_headers_of_one_connection_and_those_that_it_names_do_not_go_on() -> None:
    plain = [("date", "x"), ("x-end", "1")]
    assert end_to_end(plain) == plain
    hop = [("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("keep-alive", "5"), ("transfer-encoding", "chunked")]
    assert end_to_end([*hop, *plain]) == plain


def test_nothing_is_kept_of_a_request_to_an_endpoint_that_people_share() -> None:
    outgoing = Outgoing(Endpoint(Address("http", "127.0.0.1", 9, "/p"), shared=True))
    out = outgoing.prepare(OutRequest("POST", "/v1/x", [("authorization", "Bearer sk-canary")], b"{}", "r"))
    assert (out.path, out.head) == ("/p/v1/x", b"")
    assert ("authorization", "Bearer sk-canary") in out.headers
    assert outgoing._templates == {}


def test_a_trace_goes_along_behind_the_request_id_and_makes_no_head_of_its_own() -> None:
    outgoing = Outgoing(UNIX)
    for number in range(3):
        out = outgoing.prepare(OutRequest("GET", "/v1/x", request_id=f"r{number}", trace=f"00-{number}"))
        assert f"\r\nx-request-id: r{number}\r\ntraceparent: 00-{number}\r\n".encode() in out.head
    assert b"traceparent" not in outgoing.prepare(OutRequest("GET", "/v1/x", request_id="r")).head
    assert len(outgoing._templates) == 1
    with pytest.raises(ValueError, match="line break"):
        outgoing.prepare(OutRequest("GET", "/v1/x", request_id="r", trace="a\r\nb"))
    secure = Outgoing(Endpoint(Address("https", "box", 443)))
    assert ("traceparent", "00-1") in secure.prepare(OutRequest("GET", "/", request_id="r", trace="00-1")).headers
