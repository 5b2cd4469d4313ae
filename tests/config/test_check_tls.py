import pytest

from appliance.config.check_tls import check_tls
from appliance.config.schema import Server, Tls

PAIR = Tls(cert="c", key="k")


@pytest.mark.parametrize(
    "server",
    [
        Server(),
        Server(tls="internal", http2=True),
        Server(tls=PAIR),
        Server(tls=(PAIR, PAIR), http2=True),
        Server(names=("gpubox.lan", "gpubox.lan.", "GPUBOX", "10.0.0.9", "fd00::9")),
    ],
)
def test_what_can_be_used_has_no_findings(server: Server) -> None:
    assert list(check_tls(server)) == []


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (Server(tls="on"), '`server.tls` must be "off", "internal", a table, or a list of tables'),
        (Server(tls=()), "`server.tls` is empty"),
        (Server(http2=True), "`server.http2` needs TLS, which is off"),
        (Server(names=("a.lan", "https://b.lan")), "`server.names[1]` is neither a host name nor an address"),
        (Server(names=("*.lan",)), "`server.names[0]` is neither a host name nor an address"),
    ],
)
def test_what_cannot_be_used_is_named(server: Server, words: str) -> None:
    (finding,) = check_tls(server)
    assert finding.what == words
    assert finding.fix
