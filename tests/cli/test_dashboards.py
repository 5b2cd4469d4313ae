import json
from pathlib import Path

import pytest

from appliance.cli.main import main


def test_dashboards_rules_and_configurations_are_written_and_not_how_they_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert main(["dashboards", "export", str(target), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["files"]
    assert {"overview.json", "rules/appliance.rules.yml", "provisioning/prometheus.yaml"} <= set(written)
    assert not [name for name in written if "author" in name or name.startswith("rules/tests")]
    assert json.loads((target / "overview.json").read_text())["uid"] == "appliance-overview"
    assert main(["dashboards", "export", str(target)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Next:")


def test_a_directory_that_cannot_be_written_is_the_operators_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["dashboards", "export", str(tmp_path / "file")]) == 2
    assert "cannot write into" in capsys.readouterr().err
