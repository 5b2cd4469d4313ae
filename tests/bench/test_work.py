"""The two C programs against each other, with nobody in between. They need a C compiler."""

import json
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bench.gateways import Gateway
from bench.machine import compiled
from bench.program import find
from bench.work import Cost, Stage, figures, stage, works

TOKENS = 7


def test_figures_have_units_and_come_from_the_clients_own_time() -> None:
    result = {
        "finished": 4,
        "failed": 1,
        "tokens": 8,
        "seconds": 2.0,
        "latency": {"p50": 1.5},
        "ttft": {},
        "transit": {"p99": 0.2},
        "errors": {"503": 1},
    }
    assert figures(result, Cost(0.001, 2.5)) == {
        "errors": 1.0,
        "others %": 2.5,
        "error 503": 1.0,
        "requests/s": 2.0,
        "CPU µs/request": 250.0,
        "tokens/s": 4.0,
        "CPU µs/token": 125.0,
        "p50 ms": 1.5,
        "transit p99 ms": 0.2,
    }


def test_every_work_has_a_name_of_its_own_and_compares_what_it_shows() -> None:
    all_works = works(1)
    assert len({work.name for work in all_works}) == len(all_works)
    assert all(set(work.ratios) <= set(work.columns) for work in all_works)


@pytest.fixture
def mock() -> Iterator[Stage]:
    if not find("cc"):
        pytest.skip("no C compiler")
    with stage(Gateway(), tokens=TOKENS, interval=1000) as ready:
        yield ready


def streams(mock: Stage, *options: str) -> dict[str, Any]:
    return mock.load(("--mode", "streams", "--connections", "3", "--rounds", "2", *options))


def test_every_token_of_every_stream_is_counted(mock: Stage) -> None:
    result = streams(mock, "--tokens", str(TOKENS), "--usage", "1")
    assert (result["finished"], result["failed"], result["tokens"]) == (6, 0, 6 * TOKENS)
    assert result["transit"]["max"] > 0


def test_a_stream_with_a_token_too_few_is_an_error(mock: Stage) -> None:
    assert streams(mock, "--tokens", str(TOKENS + 1))["errors"] == {"miscounted": 6}


def test_prompts_of_a_mebibyte_arrive_whole(mock: Stage) -> None:
    result = mock.load(("--mode", "requests", "--connections", "2", "--count", "10", "--body", str(1 << 20)))
    assert result["finished"] >= 10
    assert not result["failed"]


def test_idle_connections_are_still_there_when_the_clients_look(mock: Stage) -> None:
    with mock.clients(("--mode", "idle", "--connections", "40")) as process:
        output, _ = process.communicate()
    first, last = map(json.loads, output.splitlines())
    assert (first["finished"], last["open"]) == (40, 40)


def test_nobody_listening_is_an_error_for_each_stream() -> None:
    if not find("cc"):
        pytest.skip("no C compiler")
    result = Stage(1, None).load(("--mode", "streams", "--connections", "3", "--rounds", "2", "--tokens", "1"))
    assert result["errors"] == {"closed": 6}


def test_the_mock_understands_a_chunked_request_cut_inside_a_word(mock: Stage) -> None:
    connection = HTTPConnection("127.0.0.1", mock.port, timeout=10)
    connection.request("POST", "/v1/chat/completions", iter([b'{"model":"mock","str', b'eam": tr', b"ue}"]))
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    assert answer.read().endswith(b"data: [DONE]\n\n")
    connection.close()


def test_both_programs_compile_without_a_warning(tmp_path: Path) -> None:
    if not find("cc"):
        pytest.skip("no C compiler")
    for name in ("mock", "load"):
        source = compiled(name).parent.parent / "bench" / f"{name}.c"
        command = [find("cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / name), str(source)]
        subprocess.run(command, check=True, capture_output=True)
