import io
from typing import Any

import pytest
from rich.console import Console

from appliance.cli.board import ago, board, notes, requests, shares, span, sparkline

REPLICA = {
    "replica": "qwen",
    "state": "loading",
    "percent": 71.0,
    "seconds": 9,
    "busy": 2,
    "slots": 4,
    "starts": 1,
    "pid": 77,
    "stage": "weights",
    "progress": "",
    "reason": "",
    "advice": "",
    "engine": "vllm",
    "gpus": [0, 1],
    "memory": 18 * 2**30,
}
STATE: dict[str, Any] = {
    "models": [
        {
            "name": "chat",
            "state": "ready",
            "targets": ["qwen", "box/x"],
            "in_flight": 3,
            "waiting": 2,
            "requests_per_second": 0.4,
            "output_tokens_per_second": 1234.5,
            "first_token_p95": 0.085,
        }
    ],
    "replicas": [REPLICA, REPLICA | {"replica": "gemma", "state": "quarantined", "percent": None, "reason": "No [b]."}],
    "backends": [{"name": "box", "healthy": False, "engine": "tgi", "reason": "refused"}],
    "gpus": [],
    "queues": [{"runtime": "qwen", "slots": 4, "running": 4, "waiting": 2}],
    "usage": {"recording": False, "trouble": "disk full", "waiting": 3, "dropped": 1},
}


def shown(thing: object, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_everything_has_its_row_and_tables_without_rows_are_not_there() -> None:
    text = shown(board(STATE))
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["chat"] == ["chat", "ready", "1/2", "0.4", "1,234", "85", "ms", "qwen,", "box/x"]
    assert rows["qwen"][1:5] == ["loading", "▓▓▓▓▓▓▓░░░", "71", "%"]
    assert "0,1" in rows["qwen"]
    assert "18.0 GiB" in text
    assert "2/4" in rows["qwen"]
    assert "No [b]" in text, "words of engines are no markup"
    assert rows["box"] == ["box", "unhealthy", "tgi", "refused"]
    assert "TEMP" not in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in shown(board(STATE), width).splitlines()) <= width


def test_a_narrow_terminal_has_whole_states_and_room_for_why() -> None:
    ill = REPLICA | {"state": "quarantined", "percent": None, "reason": "There is no such file. Fetch it, and load it."}
    text = shown(board({"replicas": [ill], "backends": []}, 80), 80)
    assert "quarantined" in text
    assert "PID" not in text
    assert len(text.splitlines()) <= 4


def test_a_name_of_70_characters_hides_neither_the_state_nor_why() -> None:
    name = "Qwen3-Coder-480B-A35B-Instruct-FP8-KV-cache-q8-context-262144-experimental"
    ill = REPLICA | {"replica": name, "state": "quarantined", "percent": None, "reason": "There is no such file."}
    text = shown(board({"models": [STATE["models"][0] | {"name": name}], "replicas": [ill], "backends": []}, 80), 80)
    assert "quarantined" in text
    assert "There is no such file" in text
    assert "TTFT p95" in text


def test_one_that_is_ready_and_does_not_answer_is_unhealthy() -> None:
    assert "unhealthy" in shown(board({"replicas": [REPLICA | {"state": "ready", "healthy": False}], "backends": []}))


def test_few_lines_show_the_worst_and_say_how_many_are_left() -> None:
    well = [REPLICA | {"replica": f"m{number}", "state": "ready", "percent": None} for number in range(40)]
    ill = REPLICA | {"replica": "ill", "state": "quarantined", "percent": None, "reason": "Because. " * 90}
    lines = shown(board(STATE | {"replicas": [*well, ill]}, 100, 12), 100).splitlines()
    assert len(lines) <= 16  # the rows, and for each table what is left and the line between
    assert any(line.startswith("ill ") for line in lines)
    assert any(line.startswith("… and 37 more") for line in lines)


def test_lines_that_one_table_does_not_need_are_the_others() -> None:
    assert shares([40, 1, 9], 20) == [10, 1, 9]
    assert shares([3, 1], 20) == [3, 1]
    assert shares([9, 9], 0) == [2, 2]


def test_an_older_server_is_shown_as_far_as_it_tells() -> None:
    lacking = {name: value for name, value in REPLICA.items() if name not in ("engine", "gpus", "memory", "slots")}
    assert "qwen" in shown(board({"replicas": [lacking], "backends": []}))


def test_what_an_operator_should_know_comes_with_what_to_do_last() -> None:
    assert list(notes(STATE)) == [
        "qwen: 4 of 4 slots are busy, 2 requests wait",
        "Usage is not being recorded: disk full. 3 wait, 1 are lost.",
        "Next: mend what is said of gemma, then run: appliance load gemma",
    ]


def test_requests_under_way_are_as_many_as_fit() -> None:
    row = {
        "id": "req_1",
        "key": "alice",
        "model": "chat",
        "target": "qwen",
        "phase": "first_byte",
        "seconds": 2.25,
        "first_token": None,
        "tokens": 1234,
    }
    text = shown(requests({"requests": [row] * 9}, 2).shown(200))
    assert text.count("req_1") == 2
    assert "first byte" in text
    assert "1,234" in text
    assert "qwen" in text
    long = row | {"key": "k" * 70, "model": "m" * 70, "id": "req_0123456789abcdef"}
    narrow = shown(requests({"requests": [long]}, 2, 80).shown(80), 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert len(narrow.splitlines()) == 2
    assert "first byte" in narrow


def test_short_words_for_numbers() -> None:
    assert [ago(seconds) for seconds in (5, 90, 7300, 200_000)] == ["5s", "2m", "2h", "2d"]
    assert [span(seconds) for seconds in (None, 0.085, 3.21)] == ["-", "85 ms", "3.2 s"]
    assert sparkline([0, 5, 10], 2) == "▄█"
    assert sparkline([0, 0], 5) == "▁▁"
    assert sparkline([], 5) == ""
