import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.secret import Secret
from appliance.observe.lines import JournalFormatter, JsonFormatter, Redactor, TextFormatter
from appliance.observe.log import ExchangeRecord, exchange_fields
from tests.fakes.records import RECORD

NOON = 1_700_000_000


def ordinary(record: ExchangeRecord, created: float) -> logging.LogRecord:
    """The same exchange as it comes through `logging`."""
    line = logging.makeLogRecord({"name": "appliance.exchange", "levelno": 20, "levelname": "INFO", "msg": "exchange"})
    line.created = created
    line.fields = exchange_fields(record)
    return line


@given(st.text(st.characters(exclude_categories=())), st.integers(0, 999), st.floats(0, 1e6))
def test_an_exchange_reads_the_same_on_the_quick_way_and_through_logging(text: str, ms: int, seconds: float) -> None:
    record = replace(RECORD, model=text, duration_s=seconds)
    for formatter in (JsonFormatter(), TextFormatter()):
        quick = formatter.exchanges([(NOON * 1_000_000_000 + ms * 1_000_000, record)])
        slow = formatter.format(ordinary(record, NOON + ms / 1000))
        assert quick.endswith("\n")
        if isinstance(formatter, JsonFormatter):
            assert list(json.loads(quick).items()) == list(json.loads(slow).items())
        else:
            assert quick == slow + "\n"


@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=5), st.booleans())
def test_every_exchange_is_one_line_without_control_characters(models: list[str], as_json: bool) -> None:
    formatter = JsonFormatter() if as_json else TextFormatter()
    text = formatter.exchanges([(NOON * 1_000_000_000, replace(RECORD, model=model)) for model in models])
    assert text.count("\n") == len(models)
    assert not {chr(n) for n in range(32)} - {"\n"} & set(text)
    assert not {"\x1b", "\r", "\u202e", "\x9b"} & set(text)


def test_the_date_follows_the_clock_from_line_to_line() -> None:
    times = [(NOON * 1_000 + ms) * 1_000_000 for ms in (0, 999, 1_000, 86_400_000)]
    lines = JsonFormatter().exchanges([(now, RECORD) for now in times]).splitlines()
    assert [json.loads(line)["time"] for line in lines] == [
        "2023-11-14T22:13:20.000+00:00",
        "2023-11-14T22:13:20.999+00:00",
        "2023-11-14T22:13:21.000+00:00",
        "2023-11-15T22:13:20.000+00:00",
    ]


def test_the_time_of_an_ordinary_line_is_utc() -> None:
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": "hi"})
    record.created = 0.5
    assert json.loads(JsonFormatter().format(record))["time"] == "1970-01-01T00:00:00.500+00:00"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_control_characters_of_others_are_escaped(formatter: JsonFormatter | TextFormatter) -> None:
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": "a\nb\x1b[31m"})
    record.fields = {"model": "x\r\ny\u202e", "list": [1]}
    assert not {"\n", "\x1b", "\r", "\u202e"} & set(formatter.format(record))


def test_a_secret_inside_another_leaves_nothing_behind_and_short_ones_do_not_garble() -> None:
    mask = Redactor([Secret("secret"), Secret("secret-longer"), Secret("e"), Secret("")])
    assert "longer" not in mask("a secret-longer text")
    assert mask("even here") == "even here"


@pytest.mark.parametrize("secret", ['sk-quo"te', "sk-\u00e4\u00f6\u00fc\u00df", "sk-back\\slash", "sk-tab\tchar"])
def test_a_secret_is_masked_as_json_writes_it_too(secret: str) -> None:
    line = JsonFormatter().exchanges([(NOON, replace(RECORD, model=f"x{secret}y"))])
    assert json.loads(Redactor([Secret(secret)])(line))["model"] == "x[secret]y"


def test_in_the_journal_each_line_has_its_priority_in_front_and_text_has_no_time() -> None:
    def record(level: int, text: str) -> logging.LogRecord:
        return logging.LogRecord("x", level, "", 0, text, (), None)

    people = JournalFormatter(TextFormatter(timed=False))
    assert people.format(record(logging.WARNING, "careful")) == "<4>warning careful"
    assert people.format(record(logging.ERROR, "a")).startswith("<3>error")
    assert people.format(record(logging.DEBUG, "a")).startswith("<7>")
    programs = JournalFormatter(JsonFormatter())
    assert json.loads(programs.format(record(logging.INFO, "a\nb")).removeprefix("<6>"))["event"] == "a\nb"
    several = programs.exchanges([(0, RECORD), (1, RECORD)])
    assert [line[:4] for line in several.splitlines()] == ["<6>{", "<6>{"]
    assert several.endswith("}\n")
    assert programs.exchanges([]) == ""


def test_every_line_of_a_traceback_has_its_priority() -> None:
    try:
        int("x")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    text = JournalFormatter(TextFormatter(timed=False)).format(record)
    assert text.count("\n") >= 2
    assert all(line.startswith("<3>") for line in text.splitlines())
