import ssl
import time
from pathlib import Path

import pytest

from appliance.config.pem import BadPairError, check_files, describe, pairs_of, read_pair
from appliance.config.schema import Server, Tls
from tests.fakes.pem_files import Authority, write_nameless

DAY = 86400


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def read(tls: Tls) -> tuple[str, ...]:
    return read_pair(tls, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).names


def refusal(tls: Tls) -> tuple[str, str]:
    with pytest.raises(BadPairError) as caught:
        read(tls)
    assert str(caught.value).startswith(f"TLS: {getattr(tls, caught.value.setting)} {caught.value.what}; ")
    return caught.value.setting, caught.value.what


def test_a_pair_is_described(authority: Authority) -> None:
    tls = authority.write("a", "GPUbox.lan", "*.models.lan", "10.0.0.1")
    pair = read_pair(tls, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert pair.tls == tls
    assert pair.names == ("gpubox.lan", "*.models.lan")
    assert pair.not_after - pair.not_before == pytest.approx(366 * DAY, abs=2)
    assert not pair.exposed
    assert pair.warnings(pair.not_after - 15 * DAY) == []


def test_what_should_not_stay_so_is_a_warning_and_no_error(authority: Authority) -> None:
    tls = authority.write("a", "a.lan", key_mode=0o644)
    pair = read_pair(tls, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    exposed = f"{tls.key} can be read by every user of this machine; chmod o-rwx it"
    assert pair.warnings(pair.not_after - 15 * DAY) == [exposed]
    assert f"{tls.cert} expires on 2" in pair.warnings(pair.not_after - 13 * DAY)[0]
    assert f"{tls.cert} expired on 2" in pair.warnings(pair.not_after)[0]
    assert f"{tls.cert} is not valid before 2" in pair.warnings(pair.not_before - 1)[0]


def test_an_expired_certificate_can_be_used(authority: Authority) -> None:
    assert read(authority.write("a", "a.lan", days=-3)) == ("a.lan",)


def test_a_certificate_without_names_can_be_used(tmp_path: Path) -> None:
    assert read(write_nameless(tmp_path)) == ()


def test_one_file_may_hold_both(authority: Authority, tmp_path: Path) -> None:
    tls = authority.write("a", "a.lan")
    both = tmp_path / "both.pem"
    for first, second in ((tls.key, tls.cert), (tls.cert, tls.key)):
        both.write_bytes(Path(first).read_bytes() + Path(second).read_bytes())
        assert read(Tls(cert=str(both), key=str(both))) == ("a.lan",)


def test_files_that_are_not_there_or_hold_something_else(authority: Authority, tmp_path: Path) -> None:
    good = authority.write("a", "a.lan")
    noise, empty = tmp_path / "noise", tmp_path / "empty"
    noise.write_bytes(b"-----BEGIN CERTIFICATE-----\n!!!\n" + bytes(range(256)))
    empty.write_bytes(b"")
    gone = "cannot be read (No such file or directory)"
    assert refusal(Tls(cert=str(tmp_path / "gone"), key=good.key)) == ("cert", gone)
    assert refusal(Tls(cert=good.cert, key=str(tmp_path / "gone"))) == ("key", gone)
    assert refusal(Tls(cert=good.cert, key=str(tmp_path))) == ("key", "cannot be read (Is a directory)")
    for bad in (str(noise), str(empty), good.key):
        assert refusal(Tls(cert=bad, key=good.key)) == ("cert", "holds no PEM certificate")
    for bad in (str(noise), str(empty), good.cert):
        assert refusal(Tls(cert=good.cert, key=bad)) == ("key", "holds no private key that OpenSSL can use")


def test_the_key_of_another_certificate_is_refused(authority: Authority) -> None:
    ours, other = authority.write("a", "a.lan"), authority.write("b", "b.lan")
    assert refusal(Tls(cert=ours.cert, key=other.key)) == ("key", "does not belong to the certificate")


def test_half_of_a_file_is_refused(authority: Authority) -> None:
    tls = authority.write("a", "a.lan")
    whole = Path(tls.cert).read_bytes()
    Path(tls.cert).write_bytes(whole[:100])
    assert refusal(tls)[0] == "cert"
    Path(tls.cert).write_bytes(whole)
    Path(tls.key).write_bytes(Path(tls.key).read_bytes()[:100])
    assert refusal(tls)[0] == "key"


def test_a_key_with_a_passphrase_is_refused_without_asking_at_the_terminal(tmp_path: Path) -> None:
    tls = write_nameless(tmp_path, passphrase=b"secret")
    assert refusal(tls) == ("key", "has a passphrase, and there is nobody to ask for it")


def test_a_weak_key_is_refused_with_openssls_reason(tmp_path: Path) -> None:
    assert refusal(write_nameless(tmp_path, bits=1024)) == ("cert", "is too weak for OpenSSL (ee key too small)")


def test_every_pair_of_a_configuration_is_checked(authority: Authority, tmp_path: Path) -> None:
    good = authority.write("a", "a.lan")
    bad = Tls(cert=good.cert, key=str(tmp_path / "gone"))
    assert list(check_files(Server())) == []
    assert list(check_files(Server(tls=good))) == []
    assert [found.path for found in check_files(Server(tls=bad))] == [("server", "tls", "key")]
    found = list(check_files(Server(tls=(good, bad))))
    assert [(one.path, one.what) for one in found] == [
        (("server", "tls", 1, "key"), "`server.tls[1].key` cannot be read (No such file or directory)")
    ]


def test_the_pairs_of_a_setting() -> None:
    one, two = Tls(cert="a", key="b"), Tls(cert="c", key="d")
    assert pairs_of("off") == ()
    assert pairs_of(one) == (one,)
    assert pairs_of((one, two)) == (one, two)


def test_a_certificate_in_words(tmp_path: Path) -> None:
    tls = Authority(tmp_path).write("box", "GPUBOX.lan", "10.0.0.1", days=10)
    found = describe(Path(tls.cert).read_bytes())
    assert (found.authority, found.subjects) == (False, ("gpubox.lan", "10.0.0.1"))
    assert 9 * 86400 < found.not_after - time.time() <= 10 * 86400
    nameless = describe(Path(write_nameless(tmp_path).cert).read_bytes())
    assert (nameless.name, nameless.subjects) == ("", ())
    assert describe(Authority(tmp_path).as_file().read_bytes()).authority
