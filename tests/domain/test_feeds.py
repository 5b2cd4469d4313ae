import pytest

from appliance.domain.feeds import Piece


def test_a_piece_is_a_value_and_says_no_more_than_it_has_to() -> None:
    piece = Piece(b"{}")
    assert (piece.id, piece.event) == ("", "")
    with pytest.raises(AttributeError):
        piece.id = "1"  # type: ignore[misc]
