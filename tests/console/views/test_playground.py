from appliance.console.views import playground

STATE = {
    "models": [{"name": "a", "state": "ready"}, {"name": "b", "state": "loading"}, {"name": "embed", "state": "ready"}]
}


def test_only_models_that_chat_and_serve_can_be_talked_to() -> None:
    values = playground.values(STATE, ["b", "a", "of-a-backend"], "", "")
    assert values == {"models": ["a", "of-a-backend"], "others": [("b", "loading")], "chosen": "a"}


def test_the_wanted_one_comes_before_the_default_one() -> None:
    assert playground.values(STATE, ["a", "c"], "c", "a")["chosen"] == "c"
    assert playground.values(STATE, ["a", "c"], "b", "c")["chosen"] == "c"
    assert playground.values(STATE, ["b"], "b", "b")["chosen"] == ""
