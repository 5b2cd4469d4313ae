import sqlite3
from contextlib import closing
from pathlib import Path

from appliance.config.schema import Config, Server
from appliance.recording import recorder_of
from appliance.usage.store import FILE
from tests.fakes.records import RECORD


async def test_an_exchange_is_a_row_of_the_file_of_its_configuration(tmp_path: Path) -> None:
    recorder = recorder_of(Config(server=Server(state_dir=str(tmp_path))))
    recorder.take(RECORD)
    assert await recorder.flush()
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        row = file.execute("SELECT * FROM exchanges").fetchone()
    assert {"r1", "team", "m", "chat", "b/m", 200, "ok", 9, 4, 2, 1.5, 100} <= set(row)
