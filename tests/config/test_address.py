import pytest

from appliance.config.address import root_url
from appliance.config.schema import Server


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (Server(listen="127.0.0.1:8000"), "http://127.0.0.1:8000"),
        (Server(listen="0.0.0.0:80"), "http://box:80"),
        (Server(listen="0.0.0.0:80", names=("gpubox.lan", "other")), "http://gpubox.lan:80"),
        (Server(listen="[::1]:8443", tls="internal"), "https://[::1]:8443"),
    ],
)
def test_the_address_is_one_that_people_can_use(server: Server, url: str) -> None:
    assert root_url(server, "box") == url
