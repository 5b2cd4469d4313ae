from appliance.supervisor.liveness import Limits, Pulse, Seen, look, pulse

LIMITS = Limits(dead=30, stalled=120, refused=5)


class Patient:
    """Looked at every 5 seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen = Seen(0.0, 0.0)

    def after(self, seconds: float, *, healthy: bool, busy: bool, moving: bool, refused: bool = False) -> Pulse:
        end = self.now + seconds
        result = Pulse.WELL
        while self.now < end:
            self.now += 5
            tokens = self.seen.tokens + 1 if moving else self.seen.tokens
            self.seen = look(self.seen, self.now, healthy=healthy, busy=busy, tokens=tokens)
            result = pulse(self.seen, self.now, LIMITS, busy=busy, refused=refused)
        return result


def test_well() -> None:
    assert Patient().after(1000, healthy=True, busy=True, moving=True) is Pulse.WELL
    assert Patient().after(1000, healthy=True, busy=False, moving=False) is Pulse.WELL


def test_requests_that_run_while_nothing_moves_are_a_stall_although_its_health_says_well() -> None:
    patient = Patient()
    assert patient.after(115, healthy=True, busy=True, moving=False) is Pulse.WELL
    assert patient.after(5, healthy=True, busy=True, moving=False) is Pulse.STALLED


def test_a_token_now_and_then_is_enough() -> None:
    patient = Patient()
    for _ in range(10):
        assert patient.after(100, healthy=True, busy=True, moving=False) is Pulse.WELL
        assert patient.after(5, healthy=True, busy=True, moving=True) is Pulse.WELL


def test_a_health_that_fails_while_tokens_move_is_left_alone() -> None:
    assert Patient().after(3600, healthy=False, busy=True, moving=True) is Pulse.DEGRADED


def test_a_health_that_fails_while_nothing_runs_is_death_after_a_while() -> None:
    patient = Patient()
    assert patient.after(30, healthy=False, busy=False, moving=False) is Pulse.DEGRADED
    assert patient.after(5, healthy=False, busy=False, moving=False) is Pulse.DEAD


def test_one_good_answer_begins_the_count_anew() -> None:
    patient = Patient()
    for _ in range(5):
        assert patient.after(30, healthy=False, busy=False, moving=False) is Pulse.DEGRADED
        assert patient.after(5, healthy=True, busy=False, moving=False) is Pulse.WELL


def test_an_engine_that_says_itself_that_it_is_dead_is_believed_sooner() -> None:
    patient = Patient()
    assert patient.after(5, healthy=False, busy=False, moving=False, refused=True) is Pulse.DEGRADED
    assert patient.after(5, healthy=False, busy=False, moving=False, refused=True) is Pulse.DEAD


def test_zero_switches_a_limit_off() -> None:
    off = Limits(dead=0, stalled=0)
    seen = Seen(0.0, 0.0, failing=0.0)
    assert pulse(seen, 1e6, off, busy=True, refused=False) is Pulse.DEGRADED
    assert pulse(seen, 1e6, off, busy=False, refused=True) is Pulse.DEGRADED
