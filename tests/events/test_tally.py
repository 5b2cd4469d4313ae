from typing import Any

import trio
from trio.testing import MockClock

from appliance.events.tally import EVERY, Tally

FOUND = ("pii:email:redact", "words:keyword:flag", "pii:email:block")
Told = list[tuple[str, str, str, dict[str, Any]]]


def tally(told: Told) -> Tally:
    return Tally(lambda kind, subject, words, **facts: told.append((kind, subject, words, facts)))


def test_refusals_and_findings_are_told_together_for_each_key() -> None:
    told: Told = []
    own = tally(told)
    for _ in range(3):
        own.saw("alice", "rate_limit_exceeded", "")
    own.saw("alice", "queue_full", "")
    own.saw("bob", "", "pii:email:redact,words:keyword:flag")
    own.saw("bob", "guardrail_block", "pii:email:block")
    own.saw("bob", "model_not_found", "")
    own.flush()
    assert told == [
        (
            "limits.refused",
            "alice",
            "4 requests of alice were refused: rate_limit_exceeded \u00d7 3, queue_full \u00d7 1.",
            {"rate_limit_exceeded": 3, "queue_full": 1},
        ),
        (
            "guardrails.acted",
            "bob",
            "Guardrails found something in requests of bob: " + ", ".join(f"{one} \u00d7 1" for one in FOUND) + ".",
            dict.fromkeys(FOUND, 1),
        ),
    ]
    own.flush()
    assert len(told) == 2


def test_a_crowd_of_keys_is_told_together() -> None:
    told: Told = []
    own = tally(told)
    for number in range(1500):
        own.saw(f"key-{number}", "rate_limit_exceeded", "")
    own.flush()
    assert len(told) == 1001
    assert told[-1][1:3] == ("_others", "500 requests of _others were refused: rate_limit_exceeded \u00d7 500.")


async def test_it_is_told_each_minute_and_at_the_end(autojump_clock: MockClock) -> None:
    told: Told = []
    own = tally(told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        own.saw("a", "queue_full", "")
        await trio.sleep(EVERY + 1)
        assert [words for _, _, words, _ in told] == ["1 request of a was refused: queue_full \u00d7 1."]
        own.saw("b", "queue_full", "")
        nursery.cancel_scope.cancel()
    assert [subject for _, subject, _, _ in told] == ["a", "b"]
