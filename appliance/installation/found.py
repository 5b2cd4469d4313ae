"""What a machine has that a first configuration can use."""

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MODEL_PLACES = ("models", "srv/models", "opt/models", "var/lib/models", "var/lib/appliance/models")
_DEEPEST = 3  # levels below such a place
_MOST = 20  # models of a first configuration
_GROUPS = ("video", "render")  # own the devices of GPUs
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}$")  # llama.cpp opens the other parts of a split model by itself
_FIRST_PART = re.compile(r"-00001-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class ModelFound:
    """A model on the disk.

    Attributes:
        engine: who can run it: "llama.cpp" or "vllm".
        path: of the file or the directory, as the service will see it.
    """

    engine: str
    path: str

    @property
    def name(self) -> str:
        """A public name for it: lower case, and nothing that a name may not hold."""
        stem = _FIRST_PART.sub("", Path(self.path).stem if self.engine == "llama.cpp" else Path(self.path).name)
        return re.sub(r"[^a-z0-9._+-]+", "-", stem.lower()).strip("-.") or "model"


@dataclass(frozen=True, slots=True)
class Found:
    """What is here.

    Attributes:
        models: those that an engine was found for come first.
        llama_server, vllm: the engines' programs; "" where there is none.
        gpus: how many of NVIDIA's.
        groups: that own the devices of GPUs, and exist.
        user: the service's user exists.
        service_manager: systemd runs this machine.
    """

    models: tuple[ModelFound, ...] = ()
    llama_server: str = ""
    vllm: str = ""
    gpus: int = 0
    groups: tuple[str, ...] = ()
    user: bool = False
    service_manager: bool = False


def look(root: Path, user: str, path: str, more: Iterable[Path] = ()) -> Found:
    """Look around.

    Args:
        root: of the file system.
        user: the service's.
        path: where programs are searched for.
        more: directories with models, besides the usual ones.
    """
    llama, vllm = (shutil.which(program, path=path) or "" for program in ("llama-server", "vllm"))
    places = [*more, *(root / place for place in MODEL_PLACES)]
    models = [model for place in places if place.is_dir() for model in _models(place, root, _DEEPEST)]
    usable = {"llama.cpp": bool(llama), "vllm": bool(vllm)}
    models.sort(key=lambda model: not usable[model.engine])
    known = _groups(root)
    return Found(
        models=tuple(dict.fromkeys(models))[:_MOST],
        llama_server=llama,
        vllm=vllm,
        gpus=sum(1 for _ in (root / "dev").glob("nvidia[0-9]*")),
        groups=tuple(group for group in _GROUPS if group in known),
        user=user in _names(root / "etc/passwd"),
        service_manager=(root / "run/systemd/system").is_dir(),
    )


def _models(place: Path, root: Path, deep: int) -> Iterator[ModelFound]:
    try:
        entries = sorted(place.iterdir())
    except OSError:  # not ours to read
        return
    names = {entry.name for entry in entries}
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        yield ModelFound("vllm", _seen(place, root))
        return
    for entry in entries:
        if entry.suffix == ".gguf" and "mmproj" not in entry.name.lower() and not _LATER_PART.search(entry.stem):
            yield ModelFound("llama.cpp", _seen(entry, root))
        elif deep and entry.is_dir() and not entry.name.startswith("."):
            yield from _models(entry, root, deep - 1)


def _seen(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)


def _groups(root: Path) -> set[str]:
    return _names(root / "etc/group")


def _names(file: Path) -> set[str]:
    try:
        return {line.partition(":")[0] for line in file.read_text(encoding="utf-8", errors="replace").splitlines()}
    except OSError:
        return set()
