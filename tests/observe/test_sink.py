import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from appliance.domain.secret import Secret
from appliance.observe import sink as module
from appliance.observe.log import ExchangeRecord
from appliance.observe.sink import configure, lines_dropped
from tests.fakes.records import RECORD

pytestmark = pytest.mark.usefixtures("root_logger")
LOG = logging.getLogger("appliance.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pipe:
    """A pipe whose reader reads when a test says so."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.stream = os.fdopen(writing, "w")

    def read(self) -> str:
        with io.BytesIO() as found:
            try:
                while chunk := os.read(self.reading, 65536):
                    found.write(chunk)
            except BlockingIOError:
                pass
            return found.getvalue().decode()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.read().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)
    made.stream.close()


def exchange(number: int) -> ExchangeRecord:
    return replace(RECORD, request_id=f"r{number}")


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    configure("auto", terminal).exchange(RECORD)
    LOG.info("hello")
    configure("auto", file).exchange(RECORD)
    LOG.info("hello")
    assert "exchange request_id=r1" in terminal.getvalue()
    assert "hello" in terminal.getvalue()
    assert [json.loads(line)["event"] for line in file.getvalue().splitlines()] == ["exchange", "hello"]


def test_a_second_sink_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("json", first)
    configure("json", second)
    LOG.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_known_secrets_are_masked_wherever_they_turn_up(log_format: str) -> None:
    stream = io.StringIO()
    sink = configure(log_format, stream, secrets=[Secret("sk-secret-1")])
    try:
        int("sk-secret-1")
    except ValueError:
        LOG.exception("sent sk-secret-1", extra={"fields": {"header": "Bearer sk-secret-1"}})
    sink.exchange(replace(RECORD, model="sk-secret-1"))
    assert "ValueError" in stream.getvalue()
    assert stream.getvalue().count("[secret]") >= 4
    assert "secret-1" not in stream.getvalue()


def test_a_broken_pipe_is_counted_and_never_raised() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True)
    sink = configure("json", stream)
    LOG.info("lost")
    sink.exchange(RECORD)
    assert sink.dropped == lines_dropped() == 2
    logging.getLogger().removeHandler(sink)
    os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # so that closing the wrapper can flush
    stream.close()


def test_a_line_that_cannot_be_rendered_is_dropped_and_never_raised() -> None:
    stream = io.StringIO()
    sink = configure("text", stream)
    sink.handle(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("not a number",), None))
    sink.handle(logging.LogRecord("x", logging.INFO, "", 0, "fine", (), None))
    assert sink.dropped == 1
    assert "fine" in stream.getvalue()


async def test_while_it_runs_lines_wait_for_one_write_and_keep_their_order(pipe: Pipe) -> None:
    sink = configure("json", pipe.stream)

    async def product() -> None:
        LOG.info("first")
        sink.exchange(RECORD)
        LOG.info("third")
        assert pipe.read() == ""
        found: list[str] = []
        with trio.fail_after(30):
            while not found:
                await trio.sleep(0.01)
                found = pipe.events()
        assert found == ["first", "exchange", "third"]
        LOG.info("last words")

    await sink.around(product)
    LOG.info("and after it")
    assert pipe.events() == ["last words", "and after it"]


async def test_a_stream_in_memory_will_do() -> None:
    stream = io.StringIO()
    sink = configure("text", stream)

    async def product() -> None:
        LOG.info("told")

    await sink.around(product)
    assert "told" in stream.getvalue()


async def test_no_secret_slips_through_where_two_slices_or_two_batches_meet(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 3)
    monkeypatch.setattr(module, "_BATCH", 6)
    sink = configure("json", pipe.stream, secrets=[Secret("sk-canary")])

    async def product() -> None:
        for number in range(50):
            sink.exchange(replace(exchange(number), model="sk-canary" * (number % 3)))
            LOG.info("sk-canary %d", number)

    await sink.around(product)
    text = pipe.read()
    assert "canary" not in text
    ids = [line["request_id"] for line in map(json.loads, text.splitlines()) if line["event"] == "exchange"]
    assert ids == [f"r{number}" for number in range(50)]
    assert sink.dropped == 0


async def test_a_large_batch_is_rendered_in_slices(pipe: Pipe) -> None:
    sink = configure("json", pipe.stream)
    turns, received = 0, 0

    async def others() -> None:
        nonlocal turns, received
        while True:
            turns += 1
            received += pipe.read().count("\n")
            await trio.lowlevel.checkpoint()

    async def product() -> None:
        for number in range(5_000):
            sink.exchange(exchange(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await sink.around(product)
        nursery.cancel_scope.cancel()
    assert turns >= 5_000 / 200
    assert received + pipe.read().count("\n") == 5_000


async def test_a_reader_that_is_stuck_holds_nobody_up_and_the_losses_are_told_when_it_reads_again(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LINES", 2_000)
    monkeypatch.setattr(module, "_MOST_CHARACTERS", 100_000)
    sink = configure("json", pipe.stream)
    text = ""

    async def until(*, lost: bool) -> None:
        nonlocal text
        with trio.fail_after(30):
            while ("log lines were lost" in text) is not lost or sink._queue:
                text += pipe.read()
                await trio.sleep(0.01)

    async def product() -> None:
        for number in range(1_000):  # more than a pipe holds
            sink.exchange(exchange(number))
        while sink._queue:
            await trio.sleep(0.01)
        LOG.info("a" * 90_000)
        LOG.info("b" * 90_000)
        LOG.info("c")  # one too many characters
        for number in range(1_000, 4_000):
            sink.exchange(exchange(number))
        assert sink.dropped == 1 + 1_002
        await until(lost=True)
        LOG.info("as before")

    await sink.around(product)
    lines = [json.loads(line) for line in (text + pipe.read()).splitlines()]
    told = [line["request_id"] for line in lines if line["event"] == "exchange"]
    assert told == [f"r{number}" for number in range(2_998)]
    assert (lines[-2]["event"], lines[-2]["level"], lines[-2]["lines"]) == ("log lines were lost", "warning", 1_003)
    assert lines[-1]["event"] == "as before"


async def test_a_reader_that_never_reads_again_delays_the_end_by_two_seconds_at_most(
    pipe: Pipe, autojump_clock: trio.testing.MockClock
) -> None:
    sink = configure("json", pipe.stream)

    async def product() -> None:
        for number in range(10_000):
            sink.exchange(exchange(number))
        await trio.sleep(1)

    start = trio.current_time()
    await sink.around(product)
    assert trio.current_time() - start <= 1 + 2 + 0.1
    dropped = sink.dropped
    LOG.info("nobody hears this, and nobody waits for it")
    sink.exchange(RECORD)
    assert sink.dropped == dropped + 2


async def test_a_broken_pipe_costs_its_lines_and_nothing_else(pipe: Pipe) -> None:
    sink = configure("json", pipe.stream)
    spare = os.dup(pipe.reading)

    async def product() -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reading)  # the reader leaves
        os.close(spare)
        for number in range(3):
            sink.exchange(exchange(number))

    await sink.around(product)
    assert sink.dropped == 3


async def test_what_cannot_be_rendered_or_written_ends_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    sink = configure("json", stream)

    async def product() -> None:
        sink.exchange(replace(RECORD, usage=None))
        await trio.sleep(0.2)
        stream.close()
        LOG.info("too late")

    await sink.around(product)
    assert sink.dropped == 2


async def test_what_the_product_raises_comes_out_as_it_was_after_its_last_line(pipe: Pipe) -> None:
    sink = configure("json", pipe.stream)

    async def product() -> None:
        LOG.info("stopped")
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await sink.around(product)
    assert pipe.events() == ["stopped"]


async def test_cancelled_from_outside_it_still_writes_what_waits(pipe: Pipe) -> None:
    sink = configure("json", pipe.stream)

    async def product() -> None:
        try:
            await trio.sleep_forever()
        finally:
            LOG.info("stopped")

    with trio.move_on_after(0.1) as scope:
        await sink.around(product)
    assert scope.cancelled_caught
    assert pipe.events() == ["stopped"]
    with trio.move_on_after(0):
        await sink.around(product)  # not even started, and no reason to wait for ever


@pytest.mark.parametrize(("form", "begins"), [("json", "<4>{"), ("text", "<4>warning careful")])
def test_lines_for_the_journal_have_their_priority(tmp_path: Path, form: str, begins: str) -> None:
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        for journal in (f"{found.st_dev}:{found.st_ino}", "1:2", ""):
            sink = configure(form, stream, journal=journal)
            sink.emit(logging.LogRecord("x", logging.WARNING, "", 0, "careful", (), None))
        logging.getLogger().removeHandler(sink)
    first, *others = (tmp_path / "journal").read_text().splitlines()
    assert first.startswith(begins)
    assert not any(line.startswith("<") for line in others)
