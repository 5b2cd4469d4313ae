"""Without a running server: the file of the state directory is changed. `tests/ops/test_keys.py` has the other way."""

import json
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.config.load import inspect
from appliance.keystore.file import KeyFile
from appliance.keystore.stored import hash_of

TOML = '[server]\nkey_prefix = "org-"\nstate_dir = "{0}"\n[[keys]]\nname = "toml"\nhash = "sha256:{1}"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "a.toml"
    file.write_text(TOML.format(tmp_path / "state", "0" * 64))
    return file


def keys(config: Path, *words: str) -> int:
    return main(["keys", *words, "--config", str(config)])


def test_a_key_is_printed_alone_and_its_hash_is_kept(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--scope", "infer", "--scope", "admin", "--model", "a-*", "--limit", "tokens_per_day=2_000", "--tag", "x")
    assert keys(config, "create", "ci", *words, "--local-only", "--expires", "90d") == 0
    told = capsys.readouterr()
    text = told.out.strip()
    assert text.startswith("org-")
    assert "\n" not in text
    assert "shown this once" in told.err
    assert text not in told.err
    (key,) = KeyFile(tmp_path / "state").read()
    assert key.hash == hash_of(text)
    assert (key.scopes, key.models, key.tags, key.local_only) == (("infer", "admin"), ("a-*",), ("x",), True)
    assert key.limits is not None
    assert key.limits.tokens_per_day == 2000


def test_all_keys_are_listed_with_where_they_come_from(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys(config, "create", "ci", "--tag", "x")
    keys(config, "create", "other")
    capsys.readouterr()
    assert keys(config, "list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["keys"]}
    assert {name: row["source"] for name, row in rows.items()} == {
        "toml": "configuration",
        "ci": "stored",
        "other": "stored",
    }
    assert keys(config, "list", "--tag", "x") == 0
    table = capsys.readouterr().out
    assert "ci" in table
    assert "other" not in table
    assert keys(config, "list", "--tag", "nothing") == 0
    assert "Next: appliance keys create" in capsys.readouterr().out


def test_rotating_and_revoking(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys(config, "create", "ci")
    old = capsys.readouterr().out.strip()
    assert keys(config, "rotate", "ci", "--grace", "1h") == 0
    told = capsys.readouterr()
    (key,) = KeyFile(tmp_path / "state").read()
    assert key.hash == hash_of(told.out.strip())
    assert key.former[0].hash == hash_of(old)
    assert "The old one works until 20" in told.err
    assert keys(config, "revoke", "ci") == 0
    assert "is revoked" in capsys.readouterr().out
    assert keys(config, "revoke", "ci") == 0
    assert "was revoked already" in capsys.readouterr().out
    assert keys(config, "rotate", "ci") == 2
    assert "make a new one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rotate", "toml"), "edit the file, then run `appliance reload`"),
        (("revoke", "toml"), "edit the file, then run `appliance reload`"),
        (("create", "toml"), "is the name of a [[keys]] entry"),
        (("revoke", "nobody"), "there is no key"),
        (("create", "env-1"), "is how the appliance calls a caller"),
        (("create", "a", "--expires", "soon"), "neither a date"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    config: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys(config, *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("--limit", "speed=3"), ("--limit", "concurrent"), ("--limit", "concurrent=x"), ("--scope", "root")]
)
def test_mistakes_in_the_call_are_told_with_what_there_is(
    config: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        keys(config, "create", "a", *words)
    assert caught.value.code == 2
    told = capsys.readouterr().err.replace("'", "")  # argparse quotes choices until Python 3.11
    assert "requests_per_minute, tokens_per_minute, concurrent" in told or "choose from infer, metrics, admin" in told


def test_only_printing_stores_nothing(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(config, "create", "ci", "--limit", "concurrent=2", "--print") == 0
    told = capsys.readouterr()
    parsed, problems = inspect(told.out, has_environment_keys=False)
    assert problems == []
    assert parsed is not None
    text = next(word for word in told.err.split() if word.startswith("org-"))
    assert parsed.keys[0].hash == hash_of(text)
    assert not (tmp_path / "state").exists()
    assert keys(config, "create", "ci", "--print", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert hash_of(answer["key"]) in answer["toml"]


def test_a_broken_store_is_told(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    KeyFile(tmp_path / "state").path.write_bytes(b"broken")
    assert keys(config, "list") == 2
    assert "Put a good copy there" in capsys.readouterr().err
