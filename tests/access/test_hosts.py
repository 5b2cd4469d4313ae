import pytest

from appliance.access.hosts import KnownHosts
from appliance.errors import GatewayError

HOSTS = KnownHosts(["llm.corp.example"], "gpubox.corp.example")


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "192.0.2.7",
        "gpubox",
        "gpubox.local:8000",
        "gpubox.corp.example",
        "llm.corp.example.",
        "x.localhost",
    ],
)
def test_our_own_names_pass(host: str | None) -> None:
    HOSTS.check(host)


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[evil]"])
def test_any_other_name_is_refused(host: str) -> None:
    with pytest.raises(GatewayError) as caught:
        HOSTS.check(host)
    assert caught.value.code == "misdirected_host"


def test_what_is_remembered_is_bounded_and_never_what_was_refused() -> None:
    hosts = KnownHosts([], "box")
    for number in range(1000):
        hosts.check(f"127.0.0.1:{number}")
        with pytest.raises(GatewayError):
            hosts.check(f"evil-{number}.example")
    assert len(hosts._ours) <= 64


def test_names_of_the_configuration_come_and_go_and_the_machines_own_stay() -> None:
    hosts = KnownHosts(["old.lan"], "box")
    hosts.check("old.lan")
    hosts.answer_to(["new.lan"])
    hosts.check("new.lan")
    hosts.check("box")
    with pytest.raises(GatewayError):
        hosts.check("old.lan")
