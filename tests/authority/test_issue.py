import ssl
import subprocess
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from appliance.authority.issue import Issued, issued_by, new_authority, new_leaf, permitted_by, read, subject_in
from appliance.authority.subject import Permitted, Subject

NOW = 1_795_000_000.0
OURS = Permitted(("gpubox.lan", "localhost"), (ip_network("10.0.0.0/24"), ip_network("::1/128")))
BOX = Subject(("gpubox.lan", "localhost"), (ip_address("10.0.0.7"), ip_address("::1")))


@pytest.fixture(scope="module")
def authority() -> Issued:
    return new_authority(OURS, "gpubox", NOW)


def talk(authority: Issued, leaf: Issued, host: str, tmp_path: Path) -> None:
    """A handshake in memory, as a client that trusts the authority and nothing else."""
    file = tmp_path / "leaf.pem"
    file.write_bytes(leaf.private)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    client_side = ssl.create_default_context(cadata=authority.public.decode())
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    client.do_handshake()


def fresh(now: float = 0) -> tuple[Issued, Issued]:
    """For clients whose clock is the machine's."""
    begin = now or time.time()
    authority = new_authority(OURS, "gpubox", begin)
    return authority, new_leaf(authority, BOX, begin)


@pytest.mark.parametrize("host", ["gpubox.lan", "localhost", "10.0.0.7", "::1"])
def test_a_client_accepts_it_for_each_of_its_names(host: str, tmp_path: Path) -> None:
    talk(*fresh(), host, tmp_path)


@pytest.mark.parametrize(
    ("stranger", "host"),
    [
        (Subject(("bank.example",), ()), "bank.example"),
        (Subject(("notgpubox.lan",), ()), "notgpubox.lan"),
        (Subject((), (ip_address("10.0.1.7"),)), "10.0.1.7"),
        (Subject((), (ip_address("fd00::1"),)), "fd00::1"),
    ],
)
def test_with_a_stolen_authority_nobody_else_can_be_feigned(stranger: Subject, host: str, tmp_path: Path) -> None:
    authority, _ = fresh()
    forged = new_leaf(authority, stranger, time.time())
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        talk(authority, forged, host, tmp_path)


def test_how_long_they_last(authority: Issued) -> None:
    leaf = new_leaf(authority, BOX, NOW)
    assert round((authority.ends - NOW) / 86400) == 3652
    assert round((leaf.ends - NOW) / 86400) == 90
    assert NOW - leaf.begins == 3600
    late = new_leaf(authority, BOX, authority.ends - 86400)
    assert late.ends == authority.ends


def test_what_was_written_is_read_again(authority: Issued) -> None:
    again = read(authority.private)
    assert again.certificate == authority.certificate
    assert permitted_by(again) == OURS
    leaf = new_leaf(again, BOX, NOW)
    assert subject_in(read(leaf.private)) == BOX
    assert issued_by(leaf, authority)
    assert not issued_by(leaf, new_authority(OURS, "gpubox", NOW))
    assert b"PRIVATE" not in authority.public


def test_a_key_that_is_not_its_own_is_refused(authority: Issued) -> None:
    other = new_authority(OURS, "gpubox", NOW)
    with pytest.raises(ValueError, match="not that of the certificate"):
        read(authority.public + other.private.removeprefix(other.public))
    with pytest.raises(ValueError, match=r"."):
        read(b"something else")


def test_openssl_has_nothing_to_object_to(authority: Issued, tmp_path: Path) -> None:
    ca, leaf = tmp_path / "ca.pem", tmp_path / "leaf.pem"
    ca.write_bytes(authority.public)
    leaf.write_bytes(new_leaf(authority, BOX, NOW).public)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW)), "-CAfile", str(ca), str(leaf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip().endswith("OK"), done.stderr


def test_two_authorities_of_one_machine_have_different_names(authority: Issued) -> None:
    other = new_authority(OURS, "x" * 80, NOW)
    assert other.certificate.subject != authority.certificate.subject
