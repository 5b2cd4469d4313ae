import re
from dataclasses import replace
from pathlib import Path

import pytest

import appliance
from appliance.diagnosis.checks import GIB, BackendFact, DiskFact, EngineFact, Facts, Finding, examine, worst

WELL = Facts(
    config="/etc/a.toml",
    glibc="2.36",
    open_files=65536,
    cgroup=True,
    synchronised=True,
    gpus=[("H100", "")],
    engines=[EngineFact("m", "/usr/bin/llama-server", version="version: 1")],
    backends=[BackendFact("b")],
    disks=[DiskFact("state", "/s", 100 * GIB)],
    certificates=[("/c.pem", 90 * 86400.0)],
)


def only(facts: Facts) -> Finding:
    """The one thing that is wrong."""
    (finding,) = [finding for finding in examine(facts) if finding.grade != "ok"]
    return finding


def test_a_machine_in_good_health_has_nothing_to_mend() -> None:
    findings = examine(WELL)
    assert worst(findings) == "ok"
    assert not [finding for finding in findings if finding.fix]


@pytest.mark.parametrize(
    ("change", "expected", "grade"),
    [
        ({"open_files": 1024}, "host.open-files", "warning"),
        ({"cgroup": False}, "host.cgroup", "warning"),
        ({"synchronised": False}, "host.clock", "warning"),
        ({"disks": [DiskFact("models", "/m", None)]}, "host.disk", "error"),
        ({"disks": [DiskFact("state", "/s", 1.0 * GIB)]}, "host.disk", "warning"),
        ({"gpu_trouble": "it hangs"}, "gpu.driver", "error"),
        ({"gpus": [("H100", "Xid 79: it has fallen off the bus")]}, "gpu.fault", "error"),
        ({"engines": [EngineFact("m", trouble="no vllm")]}, "engine.program", "error"),
        ({"engines": [EngineFact("m", "/x", model_trouble="/m: No such file")]}, "engine.model", "error"),
        ({"port_trouble": "0.0.0.0:80: Permission denied"}, "net.listen", "error"),
        ({"backends": [BackendFact("b", "Connection refused")]}, "net.backend", "warning"),
        ({"proxies": ["HTTPS_PROXY"]}, "net.proxy", "warning"),
        ({"certificates": [("/c.pem", 86400.0)]}, "net.certificate", "warning"),
        ({"certificates": [("/c.pem", -86400.0)]}, "net.certificate", "error"),
        ({"unnamed": ["llm.lan"]}, "net.names", "warning"),
        ({"problems": ["a.toml:1:1 what fix", "and"]}, "config.valid", "error"),
        ({"config_missing": True, "problems": ["cannot read"]}, "config.valid", "error"),
        ({"config_open": True}, "config.mode", "warning"),
        ({"state_trouble": "/s cannot be written"}, "state.directory", "error"),
        ({"state_open": "/s is open to others"}, "state.directory", "warning"),
        ({"disks": [DiskFact("state", "/s", None, trouble="Permission denied")]}, "host.disk", "warning"),
    ],
)
def test_what_is_wrong_has_an_id_a_grade_and_a_fix(change: dict[str, object], expected: str, grade: str) -> None:
    found = only(replace(WELL, **change))  # type: ignore[arg-type]
    assert (found.id, found.grade) == (expected, grade)
    assert found.fix
    assert worst([found]) == grade


def test_our_own_server_may_have_the_address() -> None:
    assert worst(examine(replace(WELL, port_trouble="in use", served=True))) == "ok"


def test_the_fix_of_a_state_directory_can_be_pasted() -> None:
    found = only(replace(WELL, state="/s", state_trouble="/s is open to others"))
    assert "chown -R appliance: /s && chmod 700 /s" in found.fix


def test_every_id_is_explained() -> None:
    page = (Path(appliance.__file__).parent / "docs" / "doctor.md").read_text()
    documented = re.findall(r"^\| `([a-z.-]+)` \|", page, re.MULTILINE)
    source = (Path(appliance.__file__).parent / "diagnosis" / "checks.py").read_text()
    assert list(dict.fromkeys(re.findall(r'Finding\(\s*"([a-z.-]+)"', source))) == documented
