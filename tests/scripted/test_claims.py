import json
from pathlib import Path
from typing import Any

import pytest

from appliance.scripted.claims import claim, release


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gpus.json"
    gpus: list[dict[str, Any]] = [
        {"index": index, "total": 1000, "used": 100, "free": 900, "holders": []} for index in (0, 1)
    ]
    path.write_text(json.dumps({"gpus": gpus}))
    return path


def rows(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text())["gpus"]
    return found


def test_a_claim_is_seen_as_used_memory_with_its_holder(file: Path) -> None:
    assert claim(file, [1], 42, 300, "engine")
    first, second = rows(file)
    assert (first["used"], first["free"], first["holders"]) == (100, 900, [])
    assert (second["used"], second["free"]) == (400, 600)
    assert [(holder["pid"], holder["bytes"], holder["command"]) for holder in second["holders"]] == [
        (42, 300, "engine")
    ]


def test_a_second_claim_replaces_the_first_and_a_release_ends_it(file: Path) -> None:
    claim(file, [0, 1], 42, 300)
    claim(file, [0, 1], 42, 50)
    assert [row["used"] for row in rows(file)] == [150, 150]
    release(file, 42)
    assert [(row["used"], row["free"], row["holders"]) for row in rows(file)] == [(100, 900, [])] * 2


def test_what_is_not_free_is_not_given(file: Path) -> None:
    before = file.read_text()
    assert not claim(file, [0], 42, 901)
    assert file.read_text() == before


def test_nothing_but_the_file_and_its_lock_is_left(file: Path) -> None:
    claim(file, [0], 42, 1)
    assert sorted(path.name for path in file.parent.iterdir()) == ["gpus.json", "gpus.json.lock"]
