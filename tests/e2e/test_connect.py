"""What `appliance connect` prints, pasted as it is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from appliance.recipes import KEY as VARIABLE
from tests.fakes.product import KEY, Product, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("talks")) as running:
        running.ready("talks")
        yield running


def printed(box: Product, client: str) -> list[dict[str, str]]:
    """The parts of a recipe, from the running product's own configuration."""
    command = [*PROGRAM, "connect", client, "--config", str(box.config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {VARIABLE: KEY})
    assert KEY not in done.stdout
    return json.loads(done.stdout)["parts"]  # type: ignore[no-any-return]


def pasted(command: list[str], text: str) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {VARIABLE: KEY}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", ["openai-python", "anthropic-python"])
def test_python_runs_it(box: Product, client: str) -> None:
    said = pasted([sys.executable, "-"], printed(box, client)[-1]["text"])
    assert len(said.split()) == 32


def test_a_shell_runs_it(box: Product) -> None:
    assert pasted(["sh"], printed(box, "curl")[-1]["text"]).endswith("data: [DONE]\n\n")
