import pytest

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint, Lease, Target


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://box", Address("http", "box", 80)),
        ("http://box:8080/", Address("http", "box", 8080)),
        ("http://box/v1", Address("http", "box", 80)),
        ("http://box/v1/", Address("http", "box", 80)),
        ("https://box/api/v1", Address("https", "box", 443, "/api")),
        ("https://[::1]:9/x/", Address("https", "::1", 9, "/x")),
    ],
)
def test_a_url_is_its_root_with_or_without_v1(url: str, address: Address) -> None:
    assert Address.from_url(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("box:8080", "must start with"),
        ("ftp://box", "must start with"),
        ("http:///v1", "names no host"),
        ("http://u:p@box", "credential"),
        ("http://box?x=1", "query"),
        ("http://box#x", "query"),
        ("http://box:port", "port"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){words}"):
        Address.from_url(url)


def test_the_host_header_names_a_port_only_when_it_is_unusual() -> None:
    assert Address("http", "box", 80).authority == "box"
    assert Address("https", "box", 443).authority == "box"
    assert Address("http", "box", 443).authority == "box:443"
    assert Address("http", "::1", 8080).authority == "[::1]:8080"
    assert Address("unix", "/run/x").authority == "localhost"


def test_an_address_reads_like_a_url_and_an_endpoint_hides_its_credential() -> None:
    assert str(Address("https", "box", 443, "/api")) == "https://box/api"
    assert str(Address("unix", "/run/x")) == "unix:/run/x"
    assert "sk-1" not in repr(Endpoint(Address("http", "box", 80), Secret("sk-1")))


def test_a_lease_is_given_back_once() -> None:
    given_back: list[Lease] = []
    lease = Lease(Endpoint(Address("unix", "/s")), "m@1", given_back.append)
    lease.release()
    lease.release()
    assert given_back == [lease]
    assert lease.replica == "m@1"


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        (Target("m", "runtime", "m", "vllm", "m"), True),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address.from_url("http://127.0.0.1:9"))), True),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address.from_url("http://[::1]:9"))), True),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address.from_url("http://localhost"))), True),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address("unix", "/run/x.sock"))), True),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address.from_url("http://10.0.0.1"))), False),
        (Target("b/x", "backend", "b", "vllm", "x", Endpoint(Address.from_url("http://gpu2.lan"))), False),
        (Target("openai/x", "provider", "openai", "openai-api", "x", Endpoint(Address("http", "127.0.0.1", 9))), False),
    ],
)
def test_what_stays_on_the_box(target: Target, *, stays: bool) -> None:
    assert target.on_this_box is stays


def test_a_providers_key_never_shows_itself() -> None:
    assert "sk-1" not in repr(Target("o", "provider", "o", "openai-api", "x", None, Secret("sk-1")))
