"""What the rows about policies configure is what this version understands."""

from pathlib import Path

import pytest

from appliance.config.load import inspect
from appliance.guardrails.check import findings
from bench.gateways import Appliance, Place
from bench.guarded import _GUARDED
from bench.policies import variants
from bench.program import find

GATEWAYS = {"guarded": Appliance(more=_GUARDED), **variants("")}


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_configuration_is_valid(name: str, tmp_path: Path) -> None:
    if not find("cc"):
        pytest.skip("no C compiler")
    GATEWAYS[name].command(Place(1, 2, tmp_path))
    text = (tmp_path / "appliance.toml").read_text(encoding="utf-8")
    config, problems = inspect(text, has_environment_keys=False, also=(findings,))
    assert problems == []
    assert config is not None
    guarded = {model.name for model in config.models if model.guardrails}
    assert guarded == ({"guarded"} if name == "guarded" else {"mock"} if name == "all" else set())
    if name in ("all", "no guardrails"):
        assert config.keys[0].limits is not None
        assert config.runtimes[0].slots
