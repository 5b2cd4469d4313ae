"""The unit, judged by systemd itself."""

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from appliance.installation.steps import unit_text

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (apt-get install systemd)"
    ),
]
_MOST = 3.0  # of systemd's points of exposure, of ten; 2.7 when it was written, with all that GPUs leave off


def analyze(*words: str) -> str:
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)
    # the manual page is installed by a package, and not here
    said = [line for line in (done.stdout + done.stderr).splitlines() if "man appliance(1)" not in line]
    return "\n".join(said)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    template = (files("appliance") / "system" / "appliance.service").read_text()
    text = unit_text(template, "/bin/true", ("video",)).replace("=appliance\n", "=daemon\n", 2)
    path = tmp_path / "appliance.service"
    path.write_text(text)
    return path


def test_every_line_of_it_is_understood(unit: Path) -> None:
    assert analyze("verify", str(unit)) == ""


def test_it_exposes_no_more_than_gpus_need(unit: Path) -> None:
    found = re.search(
        r"exposure level for appliance.service: ([0-9.]+)", analyze("security", "--offline=true", str(unit))
    )
    assert found is not None
    assert float(found[1]) <= _MOST
