import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import generate_latest

from appliance.domain.status import Measure
from appliance.supervisor.readings import moved, reading_of

M = Measure
# As vLLM 0.23 and llama-server of November 2026 wrote them, shortened.
VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 100.0
vllm:prefix_cache_queries_created{engine="0",model_name="tiny"} 1.7641e+09
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 32.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="tiny"} 5.0
vllm:num_preemptions_total{engine="0",model_name="tiny"} 3.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 100.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="local_compute"} 68.0
vllm:generation_tokens_total{engine="0",model_name="tiny"} 40.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 7.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 6.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"} 5.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="tiny"} 4.0
vllm:request_success_total{engine="0",finished_reason="repetition",model_name="tiny"} 9.0
vllm:admission_rejections_total{engine="0",model_name="tiny",reason="queue_full"} 1.0
vllm:admission_rejections_total{engine="0",model_name="tiny",reason="other"} 1.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="tiny"} 7.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="tiny"} 0.5
vllm:request_prefill_time_seconds_sum{engine="0",model_name="tiny"} 1.5
vllm:request_decode_time_seconds_sum{engine="0",model_name="tiny"} 2.5
vllm:request_prefill_kv_computed_tokens_sum{engine="0",model_name="tiny"} 68.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="tiny"} 20.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="tiny"} 12.0
"""
LLAMA = b"""\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 70
llamacpp:prompt_tokens_cached_total 30
llamacpp:prompt_seconds_total 1.5
llamacpp:tokens_predicted_total 40
llamacpp:tokens_predicted_seconds_total 2.5
llamacpp:n_decode_total 44
llamacpp:prompt_tokens_seconds 46.6
llamacpp:requests_processing 2
llamacpp:requests_deferred 1
"""


def test_vllm_is_understood() -> None:
    assert reading_of(VLLM) == {
        M.RUNNING: 2,
        M.WAITING: 1,
        M.CACHE_USED: 0.25,
        M.PREFIX_QUERIED: 100,
        M.PREFIX_HIT: 32,
        M.PREEMPTED: 3,
        M.PROMPT: 100,
        M.PREFILLED: 68,
        M.GENERATED: 40,
        M.STOPPED: 7,
        M.LENGTH: 6,
        M.ABORTED: 5,
        M.FAILED: 4,
        M.REFUSED: 2,
        M.QUEUE_SECONDS: 0.5,
        M.PREFILL_SECONDS: 1.5,
        M.DECODE_SECONDS: 2.5,
        M.DRAFTED: 20,
        M.ACCEPTED: 12,
    }


def test_llama_server_is_understood_and_a_prompt_is_what_it_computed_and_what_it_had() -> None:
    assert reading_of(LLAMA) == {
        M.RUNNING: 2,
        M.WAITING: 1,
        M.PREFILLED: 70,
        M.PREFIX_HIT: 30,
        M.PROMPT: 100,
        M.PREFIX_QUERIED: 100,
        M.GENERATED: 40,
        M.PREFILL_SECONDS: 1.5,
        M.DECODE_SECONDS: 2.5,
    }


def test_an_older_llama_server_says_nothing_of_its_cache() -> None:
    older = LLAMA.replace(b"llamacpp:prompt_tokens_cached_total 30\n", b"")
    assert {M.PREFIX_HIT, M.PREFIX_QUERIED}.isdisjoint(reading_of(older))
    assert reading_of(older)[M.PROMPT] == 70


def test_engines_behind_one_page_are_added_but_not_the_shares_of_their_caches() -> None:
    page = VLLM + VLLM.replace(b'engine="0"', b'engine="1"').replace(
        b'perc{engine="1",model_name="tiny"} 0.25', b'perc{engine="1",model_name="tiny"} 0.75'
    )
    seen = reading_of(page)
    assert (seen[M.RUNNING], seen[M.GENERATED], seen[M.STOPPED]) == (4, 80, 14)
    assert seen[M.CACHE_USED] == 0.75


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"other_total 5\n",
        b"# vllm:num_requests_running 5\n",
        b"x_vllm:num_requests_running 5\n",
        b"vllm:num_requests_running_created 5\n",
        b"llamacpp:prompt_tokens_total 1e1e1\n",
        b"llamacpp:prompt_tokens_total NaN\n",
        b"llamacpp:prompt_tokens_total +Inf\n",
        b"llamacpp:prompt_tokens_total -1\n",
        b"llamacpp:prompt_tokens_total\n",
        b'vllm:num_requests_running{model_name="open 5\n',
        b'vllm:request_success_total{model_name="no reason"} 5\n',
    ],
)
def test_what_cannot_be_understood_is_passed_over(page: bytes) -> None:
    assert reading_of(page) == {}


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(0, 2**40))
def test_labels_may_hold_anything_that_the_format_allows(name: str, value: int) -> None:
    registry = CollectorRegistry()
    Counter("vllm:generation_tokens", "Help.", ["engine", "model_name"], registry=registry).labels("0", name).inc(value)
    assert reading_of(generate_latest(registry)) == {M.GENERATED: value}


@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from(VLLM.split(b" ") + LLAMA.split(b"\n")), max_size=20).map(b" ".join)
)
def test_no_page_is_too_strange(page: bytes) -> None:
    assert all(value >= 0 for value in reading_of(page).values())


def test_a_page_made_to_take_long_does_not() -> None:
    for nasty in (
        b'vllm:num_requests_running{a="' + b"\\\\" * 2**19,
        b"vllm:" * 2**18,
        b"vllm:num_requests_running " * 2**15,
    ):
        started = time.process_time()
        reading_of(nasty)
        assert time.process_time() - started < 2.0  # a tenth of that, or some hours


def test_what_moves_is_what_was_read_or_made() -> None:
    assert moved(reading_of(VLLM)) == 100 + 68 + 40
    assert moved(reading_of(LLAMA)) == 100 + 70 + 40
    assert moved({M.RUNNING: 1}) is None
