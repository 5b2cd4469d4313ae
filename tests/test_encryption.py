import ssl
from pathlib import Path

import pytest

from appliance.access.hosts import KnownHosts
from appliance.config.schema import Config, Server
from appliance.encryption import encryption_of

HOSTS = KnownHosts([], "box")


def config(tmp_path: Path, **server: object) -> Config:
    return Config(server=Server(state_dir=str(tmp_path / "s"), **server))  # type: ignore[arg-type]


async def test_off_is_nothing(tmp_path: Path) -> None:
    off = encryption_of(config(tmp_path), HOSTS)
    assert (off.certificates, off.issuer, off.authority()) == (None, None, b"")
    await off.run()
    assert not (tmp_path / "s").exists()


def test_off_where_others_listen_in_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encryption_of(config(tmp_path, listen="0.0.0.0:1"), HOSTS)
    assert "TLS is off" in caplog.text


def test_internal_has_a_certificate_that_its_authority_vouches_for(tmp_path: Path) -> None:
    found = encryption_of(config(tmp_path, tls="internal", names=("llm.lan",)), HOSTS)
    assert found.certificates is not None
    assert isinstance(found.certificates.context("llm.lan"), ssl.SSLContext)
    assert found.authority().startswith(b"-----BEGIN CERTIFICATE-----")
    ssl.create_default_context(cadata=found.authority().decode())
    assert list(found.certificates.expiries) == [str(tmp_path / "s" / "tls" / "server.pem")]


def test_new_names_hold_for_requests_too(tmp_path: Path) -> None:
    hosts = KnownHosts([], "box")
    encryption_of(config(tmp_path), hosts).answer_to(["new.lan"])
    hosts.check("new.lan:8000")
