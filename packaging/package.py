"""`make package`: from the built binaries to what is handed out, all of it below dist/.

appliance_VERSION_amd64.deb   the directory build, the unit, the user, completions, the manual page
appliance.cdx.json            what is inside (CycloneDX), from the lock that it was built from
SHA256SUMS                    of everything in dist/ that is handed out
"""

import gzip
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from appliance import __version__
from appliance.installation.steps import unit_text

ROOT = Path(__file__).resolve().parent.parent
DIST, WORK = ROOT / "dist", ROOT / "build" / "package"
BINARY, DIRECTORY = DIST / "appliance", DIST / "appliance.d"
LARGEST = 60_000_000  # bytes of the one file
NEWEST_GLIBC = "2.36"  # that of Debian 12: what is built on a newer system does not run there
SLOWEST_HELP = 5.0  # times a Python that does nothing
SLOWEST_SERVE = 20.0
_TRIES = 5
_ROUNDS = 3  # of which one must hold: a builder may have other work to do


def main() -> int:
    """Make everything; 1 when one of the promises does not hold, with --strict those about the start too."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    floor = glibc_floor(DIRECTORY)
    write_parts()
    bill_of_materials(DIST / "appliance.cdx.json")
    environment = os.environ | {"VERSION": __version__, "GLIBC": floor}
    run("nfpm", "package", "--config", "packaging/nfpm.yaml", "--packager", "deb", "--target", "dist/", env=environment)
    checksums()
    size = BINARY.stat().st_size
    print(f"one file: {size / 1e6:.1f} MB; needs glibc {floor} or newer")
    broken = [f"the one file is larger than {LARGEST / 1e6:g} MB"] * (size > LARGEST)
    broken += [f"it needs a newer glibc than {NEWEST_GLIBC}: build it on Debian 12"] * (_newer(floor, NEWEST_GLIBC))
    late = slow()
    if "--strict" in sys.argv:  # it says as much about the builder's Python as about us
        broken += late
    else:
        print("".join(f"note: {line}\n" for line in late), end="")
    print("\n".join(broken) or ("all other promises hold" if late else "all promises hold"))
    return 1 if broken else 0


def run(*command: str, env: "dict[str, str] | None" = None) -> str:
    """Run one of our tools, from our environment or the path; what it printed."""
    program = Path(sys.executable).parent / command[0]  # an absolute path stays what it is
    first = str(program) if program.exists() else command[0]
    return subprocess.run(
        [first, *command[1:]], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def write_parts() -> None:
    """The unit, the completions and the manual page."""
    template = (ROOT / "appliance" / "system" / "appliance.service").read_text(encoding="utf-8")
    unit = unit_text(template, "/usr/bin/appliance", ("video", "render"))
    (WORK / "appliance.service").write_text(unit, encoding="utf-8")
    program = str(DIRECTORY / "appliance")
    (WORK / "appliance.bash").write_text(run(program, "completion", "bash"), encoding="utf-8")
    (WORK / "appliance.fish").write_text(run(program, "completion", "fish"), encoding="utf-8")
    (WORK / "_appliance").write_text(run(program, "completion", "zsh"), encoding="utf-8")
    source = ("--pyfile", "appliance/cli/main.py", "--function", "build_parser")
    words = ("--prog", "appliance", "--project-name", "appliance", "--manual-title", "Commands of the appliance")
    page = run("argparse-manpage", *source, *words, "--version", __version__)
    (WORK / "appliance.1.gz").write_bytes(gzip.compress(page.encode(), mtime=0))


def bill_of_materials(target: Path) -> None:
    """What is inside, in a form that scanners read; the same for the same lock."""
    lock = "packaging/lock/run.txt"
    run("cyclonedx-py", "requirements", lock, "--output-reproducible", "--of", "JSON", "-o", str(target))


def checksums() -> None:
    """As `sha256sum --check` reads them."""
    files = sorted(path for path in DIST.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def glibc_floor(directory: Path) -> str:
    """The newest version of glibc that anything in the build asks for."""
    found = {(2, 17)}
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            symbols = run("objdump", "-T", str(path))
            found |= {(int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols)}
    return ".".join(map(str, max(found)))


def _newer(version: str, other: str) -> bool:
    return tuple(map(int, version.split("."))) > tuple(map(int, other.split(".")))


def slow() -> list[str]:
    """What takes too long, said; a round in which nothing does is enough."""
    for _ in range(_ROUNDS):
        nothing, called, served = durations()
        print(
            f"a Python that does nothing, {nothing * 1e3:.0f} ms, is one: "
            f"--help takes {called / nothing:.1f}, serve until it listens {served / nothing:.1f}"
        )
        broken = [f"--help takes more than {SLOWEST_HELP:g} times as long"] * (called > SLOWEST_HELP * nothing)
        broken += [f"serve takes more than {SLOWEST_SERVE:g} times as long"] * (served > SLOWEST_SERVE * nothing)
        if not broken:
            break
    return broken


def durations() -> tuple[float, float, float]:
    """Seconds that a Python that does nothing, `--help`, and `serve` until it listens take with the directory build.

    The shortest of several tries each, in turns, since everything else on the machine only makes them longer.
    """
    program = str(DIRECTORY / "appliance")
    nothing, called, served = [], [], []
    for _ in range(_TRIES):
        nothing.append(_timed([os.path.realpath(sys.executable), "-I", "-c", "pass"]))
        called.append(_timed([program, "--help"]))
        served.append(_until_it_listens(program))
    return min(nothing), min(called), min(served)


def _timed(command: "list[str]") -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _until_it_listens(program: str) -> float:
    """Seconds until a service manager would be told that it listens."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{place}/notify")
        manager.settimeout(60)
        config = Path(place) / "appliance.toml"
        config.write_text(f'[server]\nlisten = "127.0.0.1:0"\nstate_dir = "{place}/state"\n', encoding="utf-8")
        environment = os.environ | {"NOTIFY_SOCKET": f"{place}/notify"}
        started = time.perf_counter()
        command = [program, "serve", "--config", str(config)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            while b"READY=1" not in manager.recv(4096):
                pass
            took = time.perf_counter() - started
            process.terminate()
    return took


if __name__ == "__main__":
    sys.exit(main())
