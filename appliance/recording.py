"""From the record of an exchange to a row of the usage file, and from its sums to what is used of the quotas."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from appliance.config.schema import Config
from appliance.errors import OperatorError
from appliance.limits.account import Spent
from appliance.limits.ledger import Spendings
from appliance.limits.quotas import span_of
from appliance.observe.log import ExchangeRecord
from appliance.storage.writer import Keeping
from appliance.usage.recorder import Recorder
from appliance.usage.report import spent
from appliance.usage.store import DAY, FILE, Row

_LOG = logging.getLogger("appliance.usage")


def recorder_of(config: Config) -> Recorder[ExchangeRecord]:
    """The one writer of the usage file of this configuration's state directory."""
    now = partial(time.clock_gettime, time.CLOCK_REALTIME)
    return Recorder(Path(config.server.state_dir) / FILE, keeping_of(config), now, _row)


def keeping_of(config: Config) -> Keeping:
    """How long its rows are kept."""
    return Keeping(config.usage.keep, config.usage.max_size)


def spendings(path: Path, date: float) -> Spendings:
    """What has been used of the day and the month of a date (seconds since 1970); it blocks.

    A file that cannot be read counts as nothing used: serving goes on, and the operator is told.
    """
    day, month = (span_of(span, date)[0] // DAY for span in ("day", "month"))
    try:
        keys, models = spent(path, "key", day, month), spent(path, "model", day, month)
    except OperatorError as error:
        _LOG.error("quotas of this day and month begin at nothing used: %s", error)
        return Spendings()
    return Spendings(*({name: Spent(*tokens) for name, tokens in found.items()} for found in (keys, models)))


async def spendings_now(recorder: Recorder[ExchangeRecord], path: Path, date: Callable[[], float]) -> Spendings:
    """The same while the appliance runs, with all that has ended until now."""
    await recorder.flush()
    return await trio.to_thread.run_sync(spendings, path, date())


def _row(at: float, record: ExchangeRecord) -> Row:
    usage = record.usage
    return Row(
        at=at,
        request_id=record.request_id,
        key=record.key,
        model=record.model,
        operation=record.operation,
        target=record.target,
        status=record.status,
        outcome=record.outcome,
        code=record.error_code,
        stream=record.stream,
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        estimated=usage.estimated,
        first_token=record.ttft_s,
        duration=record.duration_s,
        bytes=record.bytes_out,
        trace_id=record.trace_id,
    )
