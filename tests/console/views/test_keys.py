from appliance.config.schema import Key, Limits
from appliance.console.views.keys import rows, sums
from appliance.keystore.shown import configured_key
from appliance.usage.report import Sum

KEY = Key(name="a", hash="sha256:0", limits=Limits(tokens_per_day=2_000_000), local_only=True)


def test_a_key_in_words() -> None:
    (row,) = rows([configured_key(KEY, 0.0)])
    assert (row["limits"], row["scopes"], row["expires"], row["tone"]) == (
        "tokens per day 2,000,000",
        "infer (local only)",
        "never",
        "good",
    )
    assert (row["stored"], row["alive"]) == (False, True)


def test_the_largest_sum_has_the_longest_bar() -> None:
    found = sums([Sum(("a",), 1, 0, 1000, 500, 0, 0), Sum(("b",), 1, 0, 100, 50, 0, 0), Sum(("c",), 1, 1, 0, 0, 0, 0)])
    assert [row["percent"] for row in found] == [100, 10, 0]
    assert found[0]["figures"]["input"] == "1,000"
    assert sums([]) == []
