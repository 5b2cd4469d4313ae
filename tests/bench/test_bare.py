"""The yardstick passes on what it is given, whole and streamed, and ends with its clients."""

import pytest

from bench.gateways import Bare
from bench.program import find
from bench.work import stage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not find("cc"), reason="needs a C compiler")]


def test_whole_answers_and_streams_come_through() -> None:
    with stage(Bare(), tokens=7) as ready:
        whole = ready.load(("--mode", "requests", "--connections", "4", "--seconds", "0.3"))
        assert whole["finished"] > 0
        assert whole["failed"] == 0
        streams = ready.load(("--mode", "streams", "--connections", "4", "--rounds", "3", "--tokens", "7"))
        assert (streams["finished"], streams["failed"], streams["tokens"]) == (12, 0, 84)
