from appliance.domain.secret import Secret


def test_a_secret_is_never_printed() -> None:
    secret = Secret("sk-very-secret")
    for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}", f"{secret!r:>30}"):
        assert "very" not in text
    assert secret.reveal == "sk-very-secret"


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
