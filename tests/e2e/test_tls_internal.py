"""`tls = "internal"` as its clients see it: the official SDKs and curl with nothing but what `cert trust` tells them."""

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from appliance.cli.main import main
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    names = 'names = ["llm.lan"]'
    with product(tmp_path_factory.mktemp("box"), runtime("m", "--tokens", "5"), names, internal=True) as running:
        running.ready("m")
        yield running


def names_shown(box: Product, name: str = "localhost") -> list[str]:
    """What the certificate is for that a client sees."""
    assert isinstance(box.verify, ssl.SSLContext)
    plain = socket.create_connection(("127.0.0.1", box.port))
    with box.verify.wrap_socket(plain, server_hostname=name) as client:
        shown: Any = client.getpeercert()
        return [text for _, text in shown["subjectAltName"]]


def test_the_sdks_trust_it_by_the_variable_alone(box: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.authority))
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0) as sdk:
        stream = sdk.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "hi"}])
        assert len([chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content]) == 5
    with anthropic.Anthropic(base_url=box.url, api_key=KEY, max_retries=0) as claude:
        asked = claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert asked.content[0].type == "text"


def test_who_does_not_trust_the_authority_gets_no_further(box: Product) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{box.url}/healthz")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_what_cert_trust_prints_for_curl_works(
    box: Product, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cert", "trust", "--config", str(box.config)]) == 0
    said = capsys.readouterr().out
    for line in re.findall(r"^    (curl .*|openssl .*)$", said, re.MULTILINE):
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        if line.startswith("openssl"):
            assert done.stdout.strip().rpartition("=")[2] in said
    assert done.stdout == '{"status":"ok"}'
    assert (tmp_path / "appliance-ca.pem").read_bytes() == box.get("/ca.pem").content


def test_a_reload_with_another_name_shows_a_certificate_for_it_and_open_connections_go_on(box: Product) -> None:
    with box.client() as before:
        assert before.get(f"{box.url}/healthz").status_code == 200
        box.config.write_text(box.config.read_text().replace("llm.lan", "new.llm.lan"))
        told = box.ops("POST", "/reload").json()
        assert (told["settings"], told["restart"]) == (["server.names"], [])
        box.until(lambda: "new.llm.lan" in names_shown(box), 30)
        assert before.get(f"{box.url}/healthz").status_code == 200
    names_shown(box, "new.llm.lan")


def test_a_new_authority_is_given_out_and_the_old_one_is_not_enough_any_more(box: Product) -> None:
    assert main(["cert", "renew", "--authority", "--config", str(box.config)]) == 0

    def shown() -> bool:
        box.verify = ssl.create_default_context(cafile=str(box.authority))
        return box.authority is not None and box.get("/ca.pem").content == box.authority.read_bytes()

    box.until(shown, 60)
