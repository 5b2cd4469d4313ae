"""From the record of an exchange to a row of the usage file."""

import time
from functools import partial
from pathlib import Path

from appliance.config.schema import Config
from appliance.observe.log import ExchangeRecord
from appliance.usage.recorder import Keeping, Recorder
from appliance.usage.store import FILE, Row


def recorder_of(config: Config) -> Recorder[ExchangeRecord]:
    """The one writer of the usage file of this configuration's state directory."""
    keeping = Keeping(config.usage.keep, config.usage.max_size)
    now = partial(time.clock_gettime, time.CLOCK_REALTIME)
    return Recorder(Path(config.server.state_dir) / FILE, keeping, now, _row)


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
    )
