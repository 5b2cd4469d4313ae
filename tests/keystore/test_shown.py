import msgspec

from appliance.config.load import inspect
from appliance.config.schema import Key, Limits
from appliance.config.units import Moment
from appliance.keystore.shown import configured_key, stored_key, toml_of
from appliance.keystore.stored import Former, NewKey, made

NOW = 1_800_000_000.0
LIMITS = Limits(requests_per_minute=5, tokens_per_day=1000)
WANTED = NewKey(
    name="ci",
    scopes=("infer", "admin"),
    models=('a"-*',),
    limits=LIMITS,
    expires="1d",
    tags=("x y",),
    local_only=True,
    weight=3,
    priority=-1,
)
KEY = made(WANTED, "sk-abcdefghij", "sk-", NOW)


def test_a_stored_key_is_shown_without_anything_that_opens() -> None:
    shown = stored_key(msgspec.structs.replace(KEY, former=(Former("sha256:00", NOW + 60),)), NOW)
    assert shown == {
        "name": "ci",
        "source": "stored",
        "state": "active",
        "start": "sk-abcd",
        "scopes": ["infer", "admin"],
        "models": ['a"-*'],
        "limits": {"requests_per_minute": 5, "tokens_per_day": 1000},
        "tags": ["x y"],
        "local_only": True,
        "weight": 3,
        "priority": -1,
        "expires": "2027-01-16T08:00:00Z",
        "created": "2027-01-15T08:00:00Z",
        "revoked": None,
        "old_works_until": "2027-01-15T08:01:00Z",
    }
    assert stored_key(KEY, NOW + 90_000)["state"] == "expired"
    assert stored_key(msgspec.structs.replace(KEY, revoked=NOW), NOW)["state"] == "revoked"


def test_a_key_of_the_configuration_is_shown_alike() -> None:
    shown = configured_key(Key(name="a", hash="sha256:1", expires=Moment(NOW)), NOW)
    assert shown.keys() == stored_key(KEY, NOW).keys()
    assert (shown["source"], shown["state"]) == ("configuration", "expired")
    assert "sha256" not in repr(shown)


def test_the_section_says_the_same_and_has_no_mistakes() -> None:
    for key in (KEY, made(NewKey(name="plain"), "sk-x", "sk-", NOW)):
        config, problems = inspect(toml_of(key.section), has_environment_keys=False)
        assert problems == []
        assert config is not None
        assert config.keys == (key.section,)
