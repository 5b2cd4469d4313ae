from dataclasses import fields

from appliance.scripted.script import Script


def test_every_way_to_fail_says_what_it_does_and_is_off_unless_asked_for() -> None:
    for field in fields(Script):
        assert field.metadata["help"], field.name
        if field.type is bool:
            assert field.default is False, field.name
