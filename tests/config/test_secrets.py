from pathlib import Path

import pytest

from appliance.config.schema import Backend, Config, Key, Provider
from appliance.config.secrets import (
    KEYS_FILE,
    credentials,
    environment_keys,
    has_stored_keys,
    process_environment,
)
from appliance.domain.secret import Secret
from appliance.errors import OperatorError


def backend_credential(row: Backend, environ: dict[str, str]) -> Secret | None:
    return credentials(Config(backends=(row,)), environ).get("box")


def backend(*, key_env: str = "", key_file: str = "") -> Backend:
    return Backend(name="box", engine="openai", url="http://h", key_env=key_env, key_file=key_file)


@pytest.mark.parametrize(
    ("text", "keys"),
    [("k1,k2", ["k1", "k2"]), (" k1 , ,k2,", ["k1", "k2"]), ("k1,k1", ["k1"]), ("", []), (" , ", [])],
)
def test_keys_come_from_the_environment_without_blank_entries(text: str, keys: list[str]) -> None:
    assert environment_keys({"API_KEYS": text}) == tuple(Secret(key) for key in keys)


def test_no_variable_means_no_keys() -> None:
    assert environment_keys({}) == ()


def test_a_key_never_shows_itself() -> None:
    assert "k1" not in repr(environment_keys({"API_KEYS": "k1"}))


def test_the_process_environment_is_the_one_we_were_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "k9")
    assert process_environment()["API_KEYS"] == "k9"


def test_a_backend_that_names_no_credential_has_none() -> None:
    assert backend_credential(backend(), {"OTHER": "x"}) is None


def test_a_credential_comes_from_the_variable_that_the_backend_names() -> None:
    assert backend_credential(backend(key_env="TOKEN"), {"TOKEN": " abc\n"}) == Secret("abc")


def test_a_credential_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc\r\n")
    assert backend_credential(backend(key_file=str(tmp_path / "key")), {}) == Secret("abc")


def test_a_missing_variable_says_what_to_do() -> None:
    with pytest.raises(OperatorError, match=r'backend "box": environment variable TOKEN is not set; set it'):
        backend_credential(backend(key_env="TOKEN"), {})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        OperatorError, match=r"cannot read the key file .*gone \(No such file.*put the credential there"
    ):
        backend_credential(backend(key_file=str(tmp_path / "gone")), {})


@pytest.mark.parametrize("content", [b"", b" \n", b"a b", b"a\nb", "clé".encode(), b"\xff"])
def test_a_file_that_cannot_be_a_credential_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(OperatorError) as caught:
        backend_credential(backend(key_file=str(tmp_path / "key")), {})
    assert "clé" not in str(caught.value)
    assert "a b" not in str(caught.value)


def test_providers_and_keys_have_credentials_too(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("sk-alice\n")
    config = Config(
        providers=(Provider(name="openai", key_env="OPENAI"), Provider(name="gemini")),
        keys=(Key(name="alice", hash="sha256:0", provider_keys={"gemini": str(tmp_path / "alice")}),),
    )
    found = credentials(config, {"OPENAI": "sk-owner"})
    assert found == {"openai": Secret("sk-owner"), "alice/gemini": Secret("sk-alice")}


def test_a_missing_file_of_a_key_names_the_key_and_the_setting() -> None:
    config = Config(keys=(Key(name="alice", hash="sha256:0", provider_keys={"gemini": "/gone"}),))
    with pytest.raises(OperatorError, match=r'key "alice": cannot read.*remove `provider_keys.gemini`'):
        credentials(config, {})


def test_stored_keys_are_known_by_their_file_and_taken_to_be_there_where_we_may_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_stored_keys(str(tmp_path))
    assert not has_stored_keys(str(tmp_path / "nowhere"))
    (tmp_path / KEYS_FILE).write_text("whatever is in it")
    assert has_stored_keys(str(tmp_path))

    def denied(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", denied)
    assert has_stored_keys(str(tmp_path / "not ours"))
