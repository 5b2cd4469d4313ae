import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from appliance.domain.calls import Usage
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.observe.log import ExchangeRecord, Redactor, configure, log_exchange, log_replica

RECORD = ExchangeRecord(
    request_id="r1",
    key="team",
    model="m",
    operation="chat",
    target="b/m",
    engine="vllm",
    status=200,
    outcome="ok",
    error_code="",
    stream=True,
    usage=Usage(9, 4, 2),
    ttft_s=0.0312345678,
    duration_s=1.5,
    bytes_out=100,
    peer="10.0.0.1",
)
LOG = logging.getLogger("appliance.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_exchange_is_one_json_line_with_everything_counted() -> None:
    stream = io.StringIO()
    configure("json", stream)
    log_exchange(RECORD)
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told["event"] == "exchange"
    assert told["level"] == "info"
    expected = {"request_id": "r1", "key": "team", "model": "m", "status": 200, "tokens_input": 9, "tokens_output": 4}
    assert told | expected == told
    assert told["ttft_s"] == 0.031235
    assert told["tokens_estimated"] is False


def test_the_time_is_utc() -> None:
    stream = io.StringIO()
    configure("json", stream)
    LOG.handle(logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": "hi", "created": 0.5}))
    assert json.loads(stream.getvalue())["time"] == "1970-01-01T00:00:00.500+00:00"


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure("auto", terminal)
    LOG.info("hello")
    configure("auto", pipe)
    LOG.info("hello")
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json.loads(pipe.getvalue())["event"] == "hello"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_control_characters_of_others_are_escaped(log_format: str) -> None:
    stream = io.StringIO()
    configure(log_format, stream)
    LOG.info("a\nb\x1b[31m", extra={"fields": {"model": "x\r\ny\u202e"}})
    assert stream.getvalue().count("\n") == 1
    assert not {"\x1b", "\r", "\u202e"} & set(stream.getvalue())


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_known_secrets_are_masked_wherever_they_turn_up(log_format: str) -> None:
    stream = io.StringIO()
    configure(log_format, stream, secrets=[Secret("sk-secret-1")])
    try:
        int("sk-secret-1")
    except ValueError:
        LOG.exception("sent sk-secret-1", extra={"fields": {"header": "Bearer sk-secret-1"}})
    assert "ValueError" in stream.getvalue()
    assert "secret-1" not in stream.getvalue()


def test_a_secret_inside_another_leaves_nothing_behind_and_short_ones_do_not_garble() -> None:
    mask = Redactor([Secret("secret"), Secret("secret-longer"), Secret("e"), Secret("")])
    assert "longer" not in mask("a secret-longer text")
    assert mask("even here") == "even here"


def test_a_broken_pipe_is_counted_and_never_raised() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    pipe = io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True)
    sink = configure("json", pipe)
    LOG.info("lost")
    LOG.info("lost too")
    assert sink.dropped == 2
    logging.getLogger().removeHandler(sink)
    os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # so that closing the wrapper can flush
    pipe.close()


def test_a_second_sink_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("json", first)
    configure("json", second)
    LOG.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_a_line_that_cannot_be_rendered_is_dropped_and_never_raised() -> None:
    stream = io.StringIO()
    sink = configure("text", stream)
    logging.getLogger().removeHandler(sink)
    bad = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("not a number",), None)
    sink.handle(bad)
    good = logging.LogRecord("x", logging.INFO, "", 0, "fine", (), None)
    good.fields = {"list": [1]}
    sink.handle(good)
    assert sink.dropped == 1
    assert "fine list=[1]" in stream.getvalue()


def test_a_secret_with_quotes_is_masked_in_json_too() -> None:
    assert 'quo\\"te' not in Redactor([Secret('sk-quo"te')])('{"event": "sk-quo\\"te"}')


def test_a_replicas_change_is_told_with_its_reason_and_once() -> None:
    stream = io.StringIO()
    sink = configure("json", stream)
    ready = ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, 0.0, pid=7)
    crashed = replace(ready, state=ReplicaState.BACKOFF, reason="exit code 3", pid=None, restarts=1)
    for before, after in ((None, ready), (ready, ready), (ready, crashed)):
        log_replica(before, after)
    logging.getLogger().removeHandler(sink)
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["level"], line["state"], line["was"], line["reason"]) == ("warning", "backoff", "ready", "exit code 3")
