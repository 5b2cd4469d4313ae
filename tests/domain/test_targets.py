import pytest

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint, Lease


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
