from hypothesis import given
from hypothesis import strategies as st

from appliance.console.sparkline import HEIGHT, WIDTH, sparkline


def test_the_newest_number_is_at_the_right_edge() -> None:
    line = sparkline([0, 5, 10], 5)
    assert line.points == f"60.0,{HEIGHT - 1}.0 90.0,14.0 120.0,1.0"
    assert line.top == 10


def test_nothing_is_a_flat_line() -> None:
    assert sparkline([], 10).points == ""
    assert sparkline([None, 0], 2).points == f"0.0,{HEIGHT - 1}.0 {WIDTH}.0,{HEIGHT - 1}.0"


@given(st.lists(st.floats(0, 1e12) | st.none(), max_size=20), st.integers(1, 15))
def test_every_point_is_within_the_picture(numbers: list[float | None], room: int) -> None:
    for spot in sparkline(numbers, room).points.split():
        x, y = map(float, spot.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
