import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.usage.store import FILE, Row, Store
from tests.fakes.product import KEY, Product, product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

ROW = Row(1_800_000_000.0, "r", "alice", "qwen", "chat", "t", 200, "ok", "", False, 1000, 5, 2, False, None, 0.1, 10)


@pytest.fixture
def state(tmp_path: Path) -> str:
    store = Store.open(tmp_path / FILE)
    store.add([ROW, ROW._replace(key="bob", estimated=True)])
    store.close()
    return str(tmp_path)


def test_a_table_for_people(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--state-dir", state]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KEY", "MODEL", "REQUESTS", "FAILED", "INPUT", "OUTPUT", "CACHED", "ESTIMATED"]
    assert lines[1].split() == ["alice", "qwen", "1", "0", "1,000", "5", "2", "0"]
    assert lines[3].startswith("ESTIMATED tokens")


def test_csv_for_spreadsheets(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--state-dir", state, "--csv", "--by", "day,key", "--key", "bob"]) == 0
    assert capsys.readouterr().out == (
        "day,key,requests,failed,input,output,cached,estimated\n2027-01-15,bob,1,0,1000,5,2,1005\n"
    )


def test_json_for_programs(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--state-dir", state, "--json", "--by", ""]) == 0
    assert json.loads(capsys.readouterr().out)["usage"] == [
        {"requests": 2, "failed": 0, "input": 2000, "output": 10, "cached": 4, "estimated": 1005}
    ]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), ADMIN_TABLE + runtime("m", "--tokens", "5")) as running:
        running.ready("m")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        assert running.post("/v1/chat/completions", body).status_code == 200
        yield running


@pytest.mark.slow
def test_a_server_over_the_network_tells_the_same(
    box: Product, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text(ADMIN)
    far = ["usage", "--url", box.url, "--key-file", str(key), "--model", "m"]
    near = ["usage", "--config", str(box.config), "--model", "m"]
    for more in (
        [],
        ["--json"],
        ["--csv"],
        ["--json", "--by", ""],
        ["--csv", "--by", "day,key,target", "--since", "1d"],
    ):
        assert main([*far, *more]) == 0  # first, because it has what waits written down
        told = capsys.readouterr().out
        assert main([*near, *more]) == 0
        assert told == capsys.readouterr().out
        assert "5" in told
    assert main([*far, "--key", "nobody"]) == 0
    assert capsys.readouterr().out.startswith("Nothing was used")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_key_without_the_scope_is_told_so(
    form: str, box: Product, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    assert main(["usage", "--url", box.url, "--key-file", str(key), form]) == 2
    told = capsys.readouterr()
    assert "scope" in told.err
    assert told.out == ""


def test_nothing_used(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--state-dir", state, "--until", "2020-01-01"]) == 0
    assert capsys.readouterr().out.startswith("Nothing was used")


def test_a_state_directory_from_the_configuration(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(state) / "c.toml"
    config.write_text(f'[server]\nstate_dir = "{state}"\n')
    assert main(["usage", "--config", str(config), "--csv"]) == 0
    assert "alice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--by", "week"], '"week" is not one of day, key, model, target'), (["--config", "/no/such"], "/no/such")],
)
def test_mistakes(arguments: list[str], told: str, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = arguments if "--config" in arguments else [*arguments, "--state-dir", state]
    assert main(["usage", *own]) == 2
    assert told in capsys.readouterr().err


def test_no_file_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--state-dir", str(tmp_path)]) == 2
    assert "no usage has been recorded yet" in capsys.readouterr().err


@pytest.mark.parametrize("day", ["yesterday", "99999999d", "2026-13-01"])
def test_days_that_are_none(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["usage", "--since", day])
    assert "is no day" in capsys.readouterr().err
