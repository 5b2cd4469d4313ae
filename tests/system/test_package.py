"""The Debian package, put into a file system of its own by dpkg and taken out again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted((ROOT / "dist").glob("appliance_*_amd64.deb"))
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("dpkg") is None, reason="needs dpkg and root"),
    pytest.mark.skipif(not PACKAGES, reason="needs the package: make package"),
]
CONFIG = "etc/appliance/appliance.toml"


def dpkg(root: Path, *words: str) -> None:
    # the scripts run outside of the root, which has no shell, and are told where it is
    options = [f"--root={root}", "--force-script-chrootless", "--force-depends", "--force-confdef", "--force-confold"]
    done = subprocess.run(["dpkg", *options, *words], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with nothing but dpkg's own notes."""
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    return tmp_path


def repacked(package: Path, work: Path, version: str) -> Path:
    """The same package as another version."""
    subprocess.run(["dpkg-deb", "-R", package, work], check=True)
    control = work / "DEBIAN" / "control"
    lines = control.read_text().splitlines()
    control.write_text(
        "\n".join(f"Version: {version}" if line.startswith("Version:") else line for line in lines) + "\n"
    )
    target = work.with_suffix(".deb")
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", work, target], check=True, stdout=subprocess.DEVNULL)
    return target


def test_it_is_installed_upgraded_removed_and_purged_and_the_owners_work_survives(root: Path, tmp_path: Path) -> None:
    (package,) = PACKAGES
    dpkg(root, "-i", str(package))
    assert (root / "usr/bin/appliance").is_symlink()
    done = subprocess.run([root / "opt/appliance/appliance", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("appliance ")
    for name in (
        "usr/lib/systemd/system/appliance.service",
        "usr/lib/sysusers.d/appliance.conf",
        "usr/lib/tmpfiles.d/appliance.conf",
        "usr/share/bash-completion/completions/appliance",
        "usr/share/man/man1/appliance.1.gz",
        "usr/share/doc/appliance/appliance.cdx.json",
    ):
        assert (root / name).is_file(), name
    check = subprocess.run(
        [root / "opt/appliance/appliance", "check", root / CONFIG], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr
    assert "appliance:" in (root / "etc/passwd").read_text()

    (root / CONFIG).write_text("# mine\n")
    dpkg(root, "-i", str(repacked(package, tmp_path / "next", "99.0.0")))
    assert (root / CONFIG).read_text() == "# mine\n"

    dpkg(root, "-r", "appliance")
    assert not (root / "opt/appliance/appliance").exists()
    assert not (root / "usr/bin/appliance").is_symlink()
    assert (root / CONFIG).read_text() == "# mine\n"
    dpkg(root, "-P", "appliance")
    assert not (root / CONFIG).exists()
    assert not (root / "var/lib/appliance").exists()
