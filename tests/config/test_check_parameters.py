from appliance.config.check_parameters import check_parameters
from appliance.config.schema import Config, Key, KeyParameters, Parameters


def test_what_is_allowed_must_be_something_that_can_be_refused() -> None:
    config = Config(
        parameters=Parameters(allow=("grammar", "gramar"), most_choices=0),
        keys=(
            Key(name="a", hash="x", weight=0),
            Key(name="b", hash="y", parameters=KeyParameters(allow=("structured_outputs.regex", "model"))),
        ),
    )
    found = {finding.path: finding.what for finding in check_parameters(config)}
    assert found == {
        ("keys", 0, "weight"): "`keys[0].weight` must be more than 0",
        ("parameters", "most_choices"): "`parameters.most_choices` must be more than 0",
        ("parameters", "allow", 1): '`parameters.allow[1]`: "gramar" is no field that is refused to anybody',
        (
            "keys",
            1,
            "parameters",
            "allow",
            1,
        ): '`keys[1].parameters.allow[1]`: "model" is no field that is refused to anybody',
    }
