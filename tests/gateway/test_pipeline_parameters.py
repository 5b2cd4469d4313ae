"""Fields that can hurt an engine, through the whole path."""

import json
from dataclasses import replace
from typing import Any

import pytest

from appliance.config.schema import Limits, Parameters
from appliance.errors import GatewayError
from appliance.parameters.check import ParameterRules
from tests.fakes.accounts import exchange
from tests.fakes.path import Path
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
OK = b'{"choices":[{"index":0,"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
HI = [{"role": "user", "content": "hi"}]
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a.png"}}


async def ask(path: Path, route: str, **members: Any) -> tuple[int, Any]:
    body = {"model": "m", "messages": HI, "max_tokens": 5} | members
    reply = await path.ask("POST", route, json.dumps(body).encode())
    assert isinstance(reply.body, bytes)
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
async def test_a_field_that_could_hurt_is_refused_before_anybody_is_asked(prefix: str) -> None:
    path = Path(limits={"env-1": Limits(requests_per_minute=1)})
    for _ in range(3):  # it costs nothing
        status, body = await ask(path, f"{prefix}/chat/completions", grammar="root ::= root")
        assert (status, body["error"]["code"], body["error"]["param"]) == (422, "parameter_blocked", "grammar")
    assert path.upstreams.asked == []
    assert path.runtime.asked == []


async def test_messages_are_judged_too() -> None:
    path = Path()
    message = {"role": "user", "content": [IMAGE]}
    status, body = await ask(path, "/v1/messages", messages=[message])
    assert (status, body["type"], body["error"]["type"]) == (422, "error", "invalid_request_error")
    assert body["error"]["param"] == "messages[0].content[0].source.url"
    status, body = await ask(path, "/v1/messages", stop_sequences=["x"] * 17)
    assert (status, body["error"]["param"]) == (422, "stop_sequences")


async def test_what_the_models_engine_does_not_know_passes_on_unchanged() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    status, _ = await ask(path, "/v1/chat/completions", model="remote", grammar="root ::= root")
    assert status == 200
    assert json.loads(path.upstreams.asked[0][1].body)["grammar"] == "root ::= root"


async def test_what_only_a_provider_gets_is_its_own_affair() -> None:
    gateway = Path().gateway
    model = gateway.catalogue.resolve("remote", gateway.fleet.snapshot())
    assert model is not None
    remote = {"messages[0].content[0].image_url": b'"https://x/a.png"'}
    provider = replace(model, targets=(replace(model.targets[0], kind="provider"),))
    gateway._check_fields(remote, provider, exchange())
    with pytest.raises(GatewayError):
        gateway._check_fields(remote, replace(model, targets=model.targets + provider.targets), exchange())


async def test_settings_change_while_it_runs() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    assert (await ask(path, "/v1/chat/completions", id_slot=1))[0] == 422
    path.gateway.parameters = ParameterRules(Parameters(allow=("id_slot",)))
    assert (await ask(path, "/v1/chat/completions", id_slot=1))[0] == 200
