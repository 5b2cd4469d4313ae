import pytest
from prometheus_client import CollectorRegistry, generate_latest

from appliance.observe.maker import Maker


def test_what_is_made_is_kept_in_its_order_and_told() -> None:
    make = Maker(CollectorRegistry())
    make.counter("a_total", "A.", "x")["1",].value = 2
    make.gauge("b", "B.")[()].value = 3
    make.histogram("c", "C.", (1.0,))[()].observe(0.5)
    assert [family._name for family in make.families] == ["a", "b", "c"]
    page = generate_latest(make.registry).decode()
    assert 'a_total{x="1"} 2.0' in page
    assert "b 3.0" in page
    assert 'c_bucket{le="1.0"} 1.0' in page


def test_a_name_is_there_once() -> None:
    make = Maker(CollectorRegistry())
    make.counter("a_total", "A.")
    with pytest.raises(ValueError, match="Duplicated"):
        make.gauge("a", "A.")
