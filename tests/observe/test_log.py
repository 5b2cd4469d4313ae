import logging
from dataclasses import replace

import pytest
from msgspec.structs import replace as msgspec_replace

from appliance.domain.calls import Usage
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.observe.log import ExchangeRecord, exchange_fields, log_exchange, log_replica
from tests.fakes.records import RECORD as TOLD

RECORD = msgspec_replace(TOLD, ttft_s=0.0312345678)


def test_an_exchange_is_told_with_everything_counted_and_its_times_in_microseconds() -> None:
    assert list(exchange_fields(RECORD).items()) == [
        ("request_id", "r1"),
        ("key", "team"),
        ("model", "m"),
        ("operation", "chat"),
        ("target", "b/m"),
        ("engine", "vllm"),
        ("status", 200),
        ("outcome", "ok"),
        ("error_code", ""),
        ("stream", True),
        ("ttft_s", 0.031235),
        ("duration_s", 1.5),
        ("bytes_out", 100),
        ("peer", "10.0.0.1"),
        ("tokens_input", 9),
        ("tokens_output", 4),
        ("tokens_cached", 2),
        ("tokens_estimated", False),
        ("queued_s", 0.0),
        ("guardrails", ""),
        ("upload_s", 0.0),
        ("waited_s", 0.0),
        ("overhead_s", None),
        ("finish", ""),
        ("trace_id", ""),
        ("gap_s", 0.0),
        ("stalls", 0),
        ("tokens_reasoning", 0),
    ]


def test_nothing_of_a_record_is_forgotten() -> None:
    told = set(exchange_fields(RECORD))
    assert {name for name in ExchangeRecord.__struct_fields__ if name != "usage"} < told
    assert {f"tokens_{name}" for name in Usage._fields} < told


def test_an_exchange_can_be_told_through_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_exchange(RECORD)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.message) == ("appliance.exchange", "INFO", "exchange")
    assert record.fields == exchange_fields(RECORD)  # type: ignore[attr-defined]


def test_a_replicas_change_is_told_with_its_reason_and_once(caplog: pytest.LogCaptureFixture) -> None:
    ready = ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, 0.0, pid=7)
    crashed = replace(ready, state=ReplicaState.BACKOFF, reason="exit code 3", pid=None, restarts=1)
    with caplog.at_level(logging.INFO):
        for before, after in ((None, ready), (ready, ready), (ready, crashed)):
            log_replica(before, after)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.fields == {  # type: ignore[attr-defined]
        "replica": "m",
        "state": "backoff",
        "was": "ready",
        "pid": None,
        "reason": "exit code 3",
        "restarts": 1,
    }
