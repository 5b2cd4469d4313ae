from pathlib import Path

import httpx
import pytest

from appliance.cli.main import main
from tests.fakes.product import Product, product, runtime


def test_every_problem_of_the_file_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text('[server]\nlistn = "x"\n[[runtimes]]\nname = "a"\nengine = "lama"\n')
    assert main(["serve", "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert "listn" in told
    assert "lama" in told
    assert "a.toml:2:1" in told


@pytest.mark.slow
def test_keys_from_the_environment_work_and_appear_nowhere(tmp_path: Path) -> None:
    canary = "sk-env-canary-552"
    with product(tmp_path, runtime("m"), environment={"API_KEYS": f"{canary}, other-key-1"}) as running:
        assert isinstance(running, Product)
        running.ready("m")
        reply = httpx.get(f"{running.url}/v1/models", headers={"authorization": f"Bearer {canary}"})
        assert reply.status_code == 200
        environs = [Path(f"/proc/{pid}/environ").read_text() for pid in running.engines()]
        assert environs
        for sink in [running.log.read_text(), running.metrics(), *environs]:
            assert canary not in sink
