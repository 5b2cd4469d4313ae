from bisect import bisect_left
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client import Histogram as LibraryHistogram
from prometheus_client.exposition import generate_latest
from prometheus_client.samples import Exemplar

from appliance.observe.families import (
    Asked,
    Buckets,
    Cell,
    Family,
    Grouped,
    Histogram,
    Numbers,
    Traceable,
    Traced,
    Watched,
)

BOUNDS = (0.1, 1.0, 10.0)


def page(*families: Family[Cell] | Histogram[Buckets] | Traceable) -> str:
    registry = CollectorRegistry()
    for family in families:
        registry.register(family)
    return generate_latest(registry).decode()


def without_start_times(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "_created" not in line)


def test_numbers_read_like_the_librarys_own() -> None:
    ours = Numbers("counter", "a_total", "Help.", ["x", "y"]), Numbers("gauge", "b", "More\nhelp.", [])
    ours[0].series["1", 'quo"te\n\\'].value += 2.5
    ours[1].series[()].value -= 3
    registry = CollectorRegistry()
    Counter("a_total", "Help.", ["x", "y"], registry=registry).labels("1", 'quo"te\n\\').inc(2.5)
    Gauge("b", "More\nhelp.", registry=registry).dec(3)
    assert page(*ours) == without_start_times(generate_latest(registry).decode())


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS)))
def test_a_histogram_reads_like_the_librarys_own(observations: list[float]) -> None:
    ours = Histogram("h_seconds", "Help.", BOUNDS, ["x"], Buckets)
    registry = CollectorRegistry()
    library = LibraryHistogram("h_seconds", "Help.", ["x"], buckets=BOUNDS, registry=registry).labels("1")
    cell = ours.series["1",]
    for value in observations:
        cell.observe(value)
        library.observe(value)
    assert page(ours) == without_start_times(generate_latest(registry).decode())


def test_a_watched_number_is_read_at_each_scrape() -> None:
    watched = Watched("gauge", "w", "Help.", lambda: 1)
    assert page(watched).endswith("w 1.0\n")
    watched.read = lambda: 2
    assert page(watched).endswith("w 2.0\n")


def test_without_labels_a_series_is_there_from_the_start_and_with_labels_it_is_not() -> None:
    assert "n_total 0.0\n" in page(Numbers("counter", "n_total", "Help.", []))
    assert "n_total{" not in page(Numbers("counter", "n_total", "Help.", ["x"]))


def test_the_wrong_number_of_labels_is_a_bug_that_shows_at_once() -> None:
    with pytest.raises(ValueError, match="1 label values where 2 are needed"):
        Numbers("gauge", "g", "Help.", ["x", "y"]).series["1",]


def test_a_family_comes_in_parts_that_never_tear_a_cell_apart() -> None:
    family = Histogram("h", "Help.", BOUNDS, ["x"], Buckets)
    for number in range(100):
        family.series[str(number),].observe(number)
    parts = list(family.parts(at_most=20))
    (whole,) = family.collect()
    assert [sample for part in parts for sample in part.samples] == whole.samples
    assert {len(part.samples) % 6 for part in parts} == {0}  # four buckets, count and sum
    assert max(len(part.samples) for part in parts) < 20 + 6


def test_a_family_may_grow_while_its_parts_are_read() -> None:
    family = Numbers("gauge", "g", "Help.", ["x"])
    family.series["1",].value = 1
    parts = family.parts(at_most=1)
    next(parts)
    family.series["2",].value = 2
    assert [part.samples for part in parts] == [[]]


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS)))
def test_what_is_traced_is_counted_like_everything_else(observations: list[float]) -> None:
    plain, traced = Buckets(BOUNDS), Traced(BOUNDS)
    for number, value in enumerate(observations):
        plain.observe(value)
        traced.observe_of(value, number)
    assert (traced.counts, traced.total) == (plain.counts, plain.total)
    for what in traced.last:
        assert what is None or traced.last[bisect_left(BOUNDS, observations[cast("int", what)])] == what
    assert [what is None for what in traced.last] == [count == 0 for count in traced.counts]


def test_what_has_no_name_has_no_exemplar() -> None:
    named = Traceable("t", "Help.", BOUNDS, [], lambda what: None if what == "nobody" else ({"id": str(what)}, 5.0))
    named.series[()].observe_of(0.05, "nobody")
    named.series[()].observe_of(5.0, "r1")
    found = [sample.exemplar for sample in named.collect()[0].samples if sample.exemplar is not None]
    assert found == [Exemplar({"id": "r1"}, 5.0)]


def test_series_of_somebody_else_are_read_at_each_scrape_and_the_greatest_are_told() -> None:
    family = Asked("a", "Help.", ["x"], most=2)
    assert family.collect()[0].samples == []
    family.read = lambda: {("1",): 1.0, ("2",): 3.0, ("3",): 2.0}
    assert {sample.labels["x"] for sample in family.collect()[0].samples} == {"2", "3"}
    family.read = lambda: {("4",): 0.0}
    assert [(sample.labels["x"], sample.value) for sample in family.collect()[0].samples] == [("4", 0.0)]


def test_what_happens_to_several_series_at_once_is_told_of_each_of_them_once() -> None:
    family = Grouped("n_total", "Help.", ["x"])
    family.series["a",].value += 1
    family.together[("a",), ("b",)].value += 2
    family.together[(("b",),)].value += 1
    for _ in range(2):
        assert 'n_total{x="a"} 3.0\nn_total{x="b"} 3.0\n' in page(family)
    family.together[(("b",),)].value += 1
    assert 'n_total{x="b"} 4.0\n' in page(family)
