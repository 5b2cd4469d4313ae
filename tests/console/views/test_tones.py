from appliance.console.views.tones import tone
from appliance.domain.status import ReplicaState


def test_every_state_has_its_colour_and_what_is_unknown_has_none() -> None:
    assert {str(state): tone(str(state)) for state in ReplicaState} == {
        "stopped": "",
        "starting": "busy",
        "loading": "busy",
        "ready": "good",
        "draining": "busy",
        "stopping": "busy",
        "backoff": "busy",
        "quarantined": "bad",
        "blocked": "bad",
        "sleeping": "",
    }
    assert tone("whatever") == ""
