from pathlib import Path

import pytest

from appliance.installation.found import Found, ModelFound, look


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).touch(mode=0o755)
    return str(folder / name)


def test_an_empty_machine_has_nothing(tmp_path: Path) -> None:
    assert look(tmp_path, "appliance", "") == Found()


def test_models_are_found_once_each_and_those_that_can_run_come_first(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "models/org/Qwen2.5-7B/config.json",
        "models/org/Qwen2.5-7B/model-00001-of-00002.safetensors",
        "models/org/no-weights/config.json",
        "models/Gemma-3 (it).Q4_K_M.gguf",
        "models/big-00001-of-00003.gguf",
        "models/big-00002-of-00003.gguf",
        "models/mmproj-gemma.gguf",
        "models/.hidden/x.gguf",
        "models/a/b/c/d/too-deep.gguf",
        "srv/models/other.gguf",
    )
    llama = program(tmp_path / "bin", "llama-server")
    found = look(tmp_path, "appliance", str(tmp_path / "bin"), [tmp_path / "models"])
    assert found.llama_server == llama
    assert [model.path for model in found.models] == [
        "/models/Gemma-3 (it).Q4_K_M.gguf",
        "/models/big-00001-of-00003.gguf",
        "/srv/models/other.gguf",
        "/models/org/Qwen2.5-7B",
    ]
    assert [model.name for model in found.models] == ["gemma-3-it-.q4_k_m", "big", "other", "qwen2.5-7b"]


def test_groups_user_gpus_and_the_service_manager(tmp_path: Path) -> None:
    touch(tmp_path, "dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "run/systemd/system/x")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\nrender:x:105:\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nappliance:x:998:998::/:/bin/false\n")
    found = look(tmp_path, "appliance", "")
    assert (found.groups, found.user, found.gpus, found.service_manager) == (("render",), True, 2, True)


@pytest.mark.parametrize("name", ["???.gguf", "...gguf", "Ä.gguf"])
def test_every_name_is_one(name: str) -> None:
    assert ModelFound("llama.cpp", f"/models/{name}").name == "model"
