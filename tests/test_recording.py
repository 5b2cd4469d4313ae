import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from appliance.config.schema import Config, Server
from appliance.limits.account import Spent
from appliance.limits.ledger import Spendings
from appliance.recording import recorder_of, spendings, spendings_now
from appliance.usage.store import FILE
from tests.fakes.records import RECORD


async def test_an_exchange_is_a_row_of_the_file_of_its_configuration(tmp_path: Path) -> None:
    recorder = recorder_of(Config(server=Server(state_dir=str(tmp_path))))
    recorder.take(RECORD)
    assert await recorder.flush()
    recorder.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        row = file.execute("SELECT * FROM exchanges").fetchone()
    assert {"r1", "team", "m", "chat", "b/m", 200, "ok", 9, 4, 2, 1.5, 100} <= set(row)


async def test_what_is_used_of_quotas_is_what_was_recorded_until_now(tmp_path: Path) -> None:
    recorder = recorder_of(Config(server=Server(state_dir=str(tmp_path))))
    now = time.time()
    recorder.take(RECORD)
    recorder.take(RECORD)
    used = {name: Spent(26, 26) for name in ("team",)}
    assert await spendings_now(recorder, tmp_path / FILE, lambda: now) == Spendings(used, {"m": Spent(26, 26)})
    recorder.close()
    later = spendings(tmp_path / FILE, now + 40 * 86_400)
    assert later == Spendings()


def test_a_broken_usage_file_is_told_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"no database " * 100)
    with caplog.at_level(logging.ERROR):
        assert spendings(tmp_path / FILE, 1_800_000_000.0) == Spendings()
    assert "quotas of this day and month begin at nothing used" in caplog.text
