import pytest

from appliance.api.routes import Route, Router
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError


async def nothing(request: Request, argument: str) -> Reply:
    return Reply(200)


ROUTER = Router(
    [
        Route("POST", "/v1/chat/completions", nothing),
        Route("GET", "/v1/models", nothing),
        Route("GET", "/v1/models/{id}", nothing),
    ]
)


@pytest.mark.parametrize("name", ["qwen", "Qwen/Qwen2.5-7B", "Qwen%2FQwen2.5-7B"])
def test_an_id_may_hold_slashes_plain_or_encoded(name: str) -> None:
    route, argument = ROUTER.find("GET", f"/v1/models/{name}")
    assert route.template == "/v1/models/{id}"
    assert argument == name.replace("%2F", "/")


def test_head_is_answered_like_get() -> None:
    assert ROUTER.find("HEAD", "/v1/models")[0].template == "/v1/models"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/models/", "/v1/chat", "/v2/models", "//v1/models", ""])
def test_an_unknown_path_is_404(path: str) -> None:
    with pytest.raises(GatewayError) as caught:
        ROUTER.find("GET", path)
    assert caught.value.code == "unknown_url"


def test_a_wrong_method_is_405_and_says_which_works() -> None:
    with pytest.raises(GatewayError, match="use POST") as caught:
        ROUTER.find("GET", "/v1/chat/completions")
    assert caught.value.code == "method_not_allowed"
