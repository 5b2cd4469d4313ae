"""The sliced page against the library's own, as two parsers and a byte comparison see them."""

import re
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from appliance.observe.exposition import AnyFamily, render
from appliance.observe.families import Buckets, Histogram, Numbers, Traceable
from appliance.observe.process import Process

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def many_series() -> list[AnyFamily]:
    """More than 5,000 series, and labels that need escapes."""
    durations = Histogram("d_seconds", "Durations.", [0.01 * 2**n for n in range(17)], ["model", "code"], Buckets)
    requests = Numbers("counter", "r_total", 'Requests, "all"\nof\\them.', ["model", "code"])
    for number in range(260):
        durations.series[f"m{number}", "200"].observe(number / 7)
        requests.series[f'm"{number}\n\\', "é"].value += number
    return [requests, durations, Numbers("gauge", "empty", "Nothing yet.", ["x"]), Numbers("gauge", "g", "One.", [])]


def without_process(page: str) -> str:
    """The process's own figures differ from one moment to the next."""
    return re.sub(r"^(process_\w+) .*$", r"\1", page, flags=re.MULTILINE)


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
async def test_the_page_is_what_the_library_would_make(accept: str | None) -> None:
    families, process, registry = many_series(), Process(), CollectorRegistry()
    for collector in (process, *families):
        registry.register(collector)
    body, content_type = await render(process, families, accept)
    generate: Any = generate_openmetrics if accept else generate_latest
    parse: Any = parse_openmetrics if accept else parse_text
    page, expected = (without_process(text.decode()) for text in (body, generate(registry)))
    assert page == expected
    ours, theirs = (list(parse(text.decode())) for text in (body, generate(registry)))
    assert [(family.name, family.type, family.documentation) for family in ours] == [
        (family.name, family.type, family.documentation) for family in theirs
    ]
    assert sum(len(family.samples) for family in ours) > 5_000
    assert page.count("# HELP d_seconds ") == page.count("# TYPE d_seconds ") == 1
    assert page.count("# EOF") == (1 if accept else 0)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0" if accept else "text/plain; version=0")


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
async def test_others_run_while_a_large_page_is_made(accept: str | None) -> None:
    families, process, turns = many_series(), Process(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await render(process, families, accept)
        nursery.cancel_scope.cancel()
    assert turns > 5_000 / 50  # at most 50 samples at a stretch


async def test_two_scrapes_at_once_and_a_growing_family_disturb_nobody() -> None:
    families, process, pages = many_series(), Process(), list[bytes]()

    async def scrape() -> None:
        pages.append((await render(process, families, OPENMETRICS))[0])

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(scrape)
            await trio.lowlevel.checkpoint()
            assert isinstance(families[0], Numbers)
            families[0].series["new", str(number)].value += 1
    for page in pages:
        parsed: Any = parse_openmetrics(page.decode())  # type: ignore[no-untyped-call]
        assert len(list(parsed)) == len(families) + 6


async def test_an_exemplar_is_for_those_who_read_openmetrics() -> None:
    family = Traceable("t_seconds", "Help.", (1.0, 2.0), ["model"], lambda what: ({"request_id": str(what)}, 1.5))
    family.series["m",].observe_of(1.5, "r1")
    process = Process(proc="/nowhere")
    body, _ = await render(process, [family], "application/openmetrics-text")
    assert b't_seconds_bucket{le="2.0",model="m"} 1.0 # {request_id="r1"} 1.5\n' in body
    (parsed,) = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    found = [sample.exemplar for sample in parsed.samples if sample.exemplar]
    assert [(one.labels, one.value) for one in found] == [({"request_id": "r1"}, 1.5)]
    body, _ = await render(process, [family], None)
    assert b"r1" not in body
