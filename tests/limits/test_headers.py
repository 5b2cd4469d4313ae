import pytest

from appliance.domain.http import Headers
from appliance.limits.buckets import TICKS, Bucket
from appliance.limits.headers import Shown, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.000001, "1ms"),
        (0.12, "120ms"),
        (0.999, "999ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (8.64, "8.64s"),
        (59.999, "59.999s"),
        (59.9999, "1m0s"),
        (60, "1m0s"),
        (61.25, "1m1.25s"),
        (360, "6m0s"),
        (3599.9999, "1h0m0s"),
        (3600, "1h0m0s"),
        (90061.5, "25h1m1.5s"),
    ],
)
def test_a_time_is_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(round(seconds * TICKS)) == text


def told(name: str, bucket: Bucket, tick: int) -> Headers:
    return Shown({name: [bucket]}).at(tick).headers


def test_a_bucket_is_three_headers() -> None:
    bucket = Bucket(120)
    assert told("requests", bucket, 0) == [
        ("x-ratelimit-limit-requests", "120"),
        ("x-ratelimit-remaining-requests", "120"),
        ("x-ratelimit-reset-requests", "0s"),
    ]
    bucket.take(3, 0)
    assert told("requests", bucket, TICKS // 4)[1:] == [
        ("x-ratelimit-remaining-requests", "117"),
        ("x-ratelimit-reset-requests", "1.25s"),
    ]


def test_a_debt_is_nothing_left() -> None:
    bucket = Bucket(60)
    bucket.take(100, 0)
    assert told("tokens", bucket, 0)[1:] == [
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m40s"),
    ]


def test_of_two_buckets_the_one_with_less_left_is_told_of_and_of_equals_the_first() -> None:
    small, large = Bucket(60), Bucket(100)
    shown = Shown({"requests": [large, small]})
    limit = "x-ratelimit-limit-requests"
    assert dict(shown.at(0).headers)[limit] == "60"
    large.take(50, 0)
    assert dict(shown.at(0).headers) == {
        limit: "100",
        "x-ratelimit-remaining-requests": "50",
        "x-ratelimit-reset-requests": "30s",
    }
    large.give_back(10)
    assert dict(shown.at(0).headers)[limit] == "100", "both have sixty"
    large.give_back(40)
    assert dict(shown.at(0).headers)[limit] == "60"


def test_full_buckets_are_told_of_as_full_also_where_they_were_not_at_first() -> None:
    bucket = Bucket(60)
    bucket.take(60, 0)
    shown = Shown({"tokens": [bucket]})
    assert dict(shown.at(0).headers)["x-ratelimit-remaining-tokens"] == "0"
    assert dict(shown.at(60 * TICKS).headers)["x-ratelimit-remaining-tokens"] == "60"
    assert dict(shown.at(60 * TICKS).headers)["x-ratelimit-reset-tokens"] == "0s"
