import hashlib
import json
import ssl
from pathlib import Path

import pytest

from appliance.cli.main import main
from tests.fakes.pem_files import Authority


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "a.toml"
    file.write_text(
        f'[server]\ntls = "internal"\nlisten = "127.0.0.1:8443"\nnames = ["llm.lan"]\nstate_dir = "{tmp_path}/s"\n'
    )
    return file


def test_renew_then_show_then_trust(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "renew", "--config", str(config)]) == 0
    assert "appliance cert show" in capsys.readouterr().out

    assert main(["cert", "show", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    public = (tmp_path / "s" / "tls" / "ca.pem").read_text()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(public)).hexdigest().upper()
    fingerprint = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
    assert fingerprint in said
    assert "may sign for  llm.lan" in said
    assert "(90 days)" in said

    assert main(["cert", "trust", "--config", str(config), "--url", "https://llm.lan:8443"]) == 0
    said = capsys.readouterr().out
    for word in (
        fingerprint,
        "https://llm.lan:8443/ca.pem",
        "update-ca-certificates",
        "update-ca-trust",
        "security add",
    ):
        assert word in said
    for word in ("certutil", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "--cacert", "Firefox"):
        assert word in said


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "renew", "--authority", "--json", "--config", str(config)]) == 0
    authority, server = json.loads(capsys.readouterr().out)["certificates"]
    assert (authority["role"], server["role"]) == ("authority", "server")
    assert server["subjects"][0] == "llm.lan"
    assert main(["cert", "trust", "--json", "--config", str(config)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["fingerprint"], told["url"]) == (authority["fingerprint"], "https://127.0.0.1:8443/ca.pem")


def test_names_that_the_authority_may_not_sign_are_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cert", "renew", "--config", str(config)])
    config.write_text(config.read_text().replace("llm.lan", "other.lan"))
    assert main(["cert", "renew", "--config", str(config)]) == 0
    assert "may not sign for other.lan" in capsys.readouterr().out


def test_before_the_first_start_there_is_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "trust", "--config", str(config)]) == 2
    assert "appliance cert renew" in capsys.readouterr().err


def test_files_are_shown_and_are_not_ours_to_renew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tls = Authority(tmp_path).write("box", "gpubox.lan", "10.0.0.1")
    config = tmp_path / "a.toml"
    config.write_text(f'[server]\ntls = {{ cert = "{tls.cert}", key = "{tls.key}" }}\n')
    assert main(["cert", "show", "--config", str(config)]) == 0
    assert "for  gpubox.lan, 10.0.0.1" in capsys.readouterr().out
    for action in ("renew", "trust"):
        assert main(["cert", action, "--config", str(config)]) == 2
        assert 'tls = "internal"' in capsys.readouterr().err


def test_off_says_how_to_switch_it_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text("")
    assert main(["cert", "show", "--config", str(config)]) == 0
    assert "TLS is off" in capsys.readouterr().out
