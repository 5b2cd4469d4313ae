import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.parameters.shape import deeper_than

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('{}[]\\" ab', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('{}[]\\"a', max_size=4), inner, max_size=4),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@example("[", 0, None)
@given(VALUES, st.integers(0, 8), st.sampled_from([None, 2]))
def test_it_is_as_deep_as_its_value_is(value: Any, most: int, indent: int | None) -> None:
    assert deeper_than(json.dumps(value, indent=indent).encode(), most) == (depth(value) > most)


@pytest.mark.parametrize(("levels", "most", "deeper"), [(48, 48, False), (49, 48, True), (100_000, 48, True)])
def test_borders(levels: int, most: int, deeper: bool) -> None:
    assert deeper_than(b'{"a":' * levels + b"1" + b"}" * levels, most) is deeper
