"""TLS as the official SDK sees it: the door itself over HTTP/1.1, and a certificate that is renewed under way."""

import ssl
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.fakes.pem_files import Authority
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m", "--tokens", "40"), http2=True) as running:
        running.ready("m")
        yield running


def test_the_sdk_streams_over_tls_through_the_door(box: Product) -> None:
    http = openai.DefaultHttpxClient(verify=box.verify)
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0, http_client=http) as sdk:
        for _ in range(2):
            stream = sdk.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "hi"}])
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            assert len(text.split()) >= 40
        assert [model.id for model in sdk.models.list()] == ["m"]


def test_which_protocol_is_spoken_is_the_clients_choice(box: Product) -> None:
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        with httpx.Client(verify=box.verify, http2=http2) as client:
            assert client.get(f"{box.url}/healthz").http_version == version


def test_plain_http_on_the_tls_port_is_told_so(box: Product) -> None:
    reply = httpx.get(box.url.replace("https:", "http:"))
    assert reply.status_code == 400
    assert "https://" in reply.json()["error"]["message"]


def test_a_renewed_certificate_is_used_without_a_restart(box: Product) -> None:
    context = box.verify
    assert isinstance(context, ssl.SSLContext)
    with httpx.Client(verify=context) as before:
        assert before.get(f"{box.url}/healthz").status_code == 200
        stranger = Authority(box.state)
        stranger.write("box", "127.0.0.1")
        end = time.monotonic() + 30
        while True:
            try:
                with httpx.Client(verify=stranger.client()) as after:
                    assert after.get(f"{box.url}/healthz").status_code == 200
                    break
            except httpx.ConnectError:
                assert time.monotonic() < end
                time.sleep(0.2)
        assert before.get(f"{box.url}/healthz").status_code == 200, "open connections go on"
    box.verify = stranger.client()
