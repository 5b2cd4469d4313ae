from appliance.supervisor.handing import Handed


def test_it_is_a_value() -> None:
    one, other = (Handed("m", 7, ready=True, slots=2, last_start=0.0) for _ in range(2))
    assert one == other
