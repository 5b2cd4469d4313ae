import logging
import os
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from appliance.config.schema import Tls
from appliance.door.certificates import Certificates
from appliance.errors import OperatorError
from tests.fakes.pem_files import Authority

LONG_AGO = 1_000_000_000.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def load(*pairs: Tls, http2: bool = False) -> Certificates:
    return Certificates(pairs, http2=http2, now=lambda: LONG_AGO * 2)


def shown(authority: Authority, certificates: Certificates, name: str) -> str:
    """The first name of the certificate that a handshake in memory gets."""
    session = handshake(authority.client(), certificates, name)
    names = (session.getpeercert() or {})["subjectAltName"]
    assert isinstance(names, tuple)
    return str(names[0][1])


def handshake(context: ssl.SSLContext, certificates: Certificates, name: str) -> ssl.SSLObject:
    context.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname=name or None)
    server = certificates.context(name).wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client


def test_the_name_that_a_client_asks_for_chooses_the_certificate(authority: Authority) -> None:
    certificates = load(
        authority.write("a", "default.lan"),
        authority.write("b", "b.lan", "other.b.lan"),
        authority.write("c", "wild.lan", "*.b.lan"),
        authority.write("d", "late.lan", "b.lan"),
    )
    for name, expected in {
        "default.lan": "default.lan",
        "b.lan": "b.lan",
        "other.b.lan": "b.lan",
        "x.b.lan": "wild.lan",
        "x.y.b.lan": "default.lan",
        "late.lan": "late.lan",
        "unknown": "default.lan",
        "": "default.lan",
    }.items():
        assert shown(authority, certificates, name) == expected, name


def test_the_protocols_on_offer(authority: Authority) -> None:
    tls = authority.write("a", "a.lan")
    for http2, wanted, chosen in (
        (False, ["h2", "http/1.1"], "http/1.1"),
        (True, ["http/1.1", "h2"], "h2"),
        (True, ["http/1.1"], "http/1.1"),
        (False, ["h2"], None),
    ):
        client = handshake(authority.client(*wanted), load(tls, http2=http2), "a.lan")
        assert client.selected_alpn_protocol() == chosen


def test_the_settings_of_a_context(authority: Authority) -> None:
    context = load(authority.write("a", "a.lan")).context("")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    old = [row["name"] for row in context.get_ciphers() if not row["name"].startswith(("TLS_", "ECDHE-"))]
    assert old == []
    assert all("GCM" in row["name"] or "POLY1305" in row["name"] for row in context.get_ciphers())


def test_expiries_are_told_for_each_file(authority: Authority) -> None:
    one, two = authority.write("a", "a.lan", days=10), authority.write("b", "b.lan", days=20)
    expiries = load(one, two).expiries
    assert expiries[two.cert] - expiries[one.cert] == pytest.approx(10 * 86400, abs=5)


def test_a_pair_that_cannot_be_used_is_the_operators_mistake(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(cert=authority.write("a", "a.lan").cert, key=str(tmp_path / "gone"))
    with pytest.raises(OperatorError, match=r"TLS: .*gone cannot be read"):
        load(tls)


def test_an_expired_certificate_is_served_with_a_warning(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    load(authority.write("a", "a.lan", days=-400))
    assert "a.pem expired on" in caplog.text


def test_files_that_did_not_change_are_not_read_again(authority: Authority) -> None:
    certificates = load(authority.write("a", "a.lan"))
    before = certificates.context("")
    assert certificates.reload() is False
    assert certificates.context("") is before


def test_a_renewed_pair_is_shown_at_once(authority: Authority) -> None:
    certificates = load(authority.write("a", "old.lan"), authority.write("b", "b.lan"))
    authority.write("a", "renewed-and-longer.lan")  # another size: both may be written within one tick of the clock
    assert certificates.reload() is True
    assert shown(authority, certificates, "new.lan") == "renewed-and-longer.lan"
    assert shown(authority, certificates, "b.lan") == "b.lan"
    assert certificates.reload() is False


def test_a_pair_replaced_by_renaming_is_noticed_although_size_and_time_are_the_same(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.write("a", "aaa.lan")
    key = Path(tls.key)
    certificates = load(tls)
    status = key.stat()
    copy = tmp_path / "copy"
    copy.write_bytes(key.read_bytes())
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.rename(key)
    assert certificates.reload() is True


def test_every_way_to_be_half_written_keeps_the_old_pair_and_is_reported_once(authority: Authority) -> None:
    tls = authority.write("a", "old.lan")
    cert, key = Path(tls.cert), Path(tls.key)
    certificates = load(tls)
    fresh = authority.write("b", "new.lan")
    new_cert, new_key = Path(fresh.cert).read_bytes(), Path(fresh.key).read_bytes()

    def refused() -> None:
        with pytest.raises(OperatorError):
            certificates.reload()
        assert certificates.reload() is False
        assert shown(authority, certificates, "") == "old.lan"

    cert.write_bytes(b"")
    refused()
    cert.write_bytes(new_cert[:200])
    refused()
    cert.write_bytes(new_cert)  # whole, beside the old key
    refused()
    key.unlink()
    refused()
    key.write_bytes(new_key[:60])
    refused()
    key.write_bytes(new_key)
    assert certificates.reload() is True
    assert shown(authority, certificates, "") == "new.lan"


def spoil(tls: Tls) -> None:
    Path(tls.cert).write_bytes(b"half")


async def test_the_watch_reloads_and_logs(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "appliance.door")
    tls = authority.write("a", "old.lan")
    certificates = load(tls)

    async def until(text: str) -> None:
        with trio.fail_after(10):
            while text not in caplog.text:
                await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.watch, 0.01)
        spoil(tls)
        await until("a.pem holds no PEM certificate")
        await until("the certificates loaded before stay in use")
        authority.write("a", "new.lan")
        await until("certificates loaded anew")
        nursery.cancel_scope.cancel()
    assert caplog.text.count("stay in use") == 1
