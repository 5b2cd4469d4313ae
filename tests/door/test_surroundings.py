from dataclasses import fields

from appliance.config.schema import Server
from appliance.door.surroundings import Patience


def test_how_long_a_client_may_take_is_what_the_configuration_says_by_default() -> None:
    server, patience = Server(), Patience()
    settings = {"head": "head_timeout", "body": "body_timeout", "idle": "idle_timeout", "write_stall": "write_stall"}
    assert {name: getattr(patience, name) for name in settings} == {
        name: getattr(server, setting) for name, setting in settings.items()
    }
    assert {field.name for field in fields(Patience)} == {*settings, "silence"}
