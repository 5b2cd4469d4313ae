from appliance.upstream.gaps import STALL, Gaps


def test_before_the_first_content_nothing_is_notable() -> None:
    assert Gaps().notable == float("inf")


def test_the_longest_pause_and_every_stall_are_kept_and_what_is_shorter_is_not_told() -> None:
    gaps = Gaps()
    gaps.begin()
    assert gaps.notable == 0
    gaps.saw(0.2)
    assert (gaps.longest, gaps.stalls, gaps.notable) == (0.2, 0, 0.2)
    gaps.saw(3 * STALL)
    assert (gaps.longest, gaps.stalls, gaps.notable) == (3 * STALL, 1, STALL)
    gaps.saw(2 * STALL)  # no record, and a stall all the same
    assert (gaps.longest, gaps.stalls, gaps.notable) == (3 * STALL, 2, STALL)
