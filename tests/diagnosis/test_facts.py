import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from appliance.authority.issuer import Issuer
from appliance.diagnosis.checks import Facts, examine
from appliance.diagnosis.facts import Told, gather
from tests.fakes.users import somebody_else


async def facts(tmp_path: Path, text: str, **environ: str) -> Facts:
    config = tmp_path / "a.toml"
    config.write_text(text)
    config.chmod(0o600)
    return await gather(Told(config, environ, has_environment_keys=False))


async def test_a_machine_tells_about_itself(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    found = await facts(
        tmp_path,
        f'[server]\nstate_dir = "{tmp_path}/state"\nlisten = "127.0.0.1:0"\n'
        f'[[runtimes]]\nname = "m"\nengine = "llama.cpp"\nmodel = "{model}"\nbinary = "/bin/echo"\n'
        f'[[runtimes]]\nname = "n"\nengine = "llama.cpp"\nmodel = "{tmp_path}/none.gguf"\nbinary = "/bin/echo"\n',
    )
    assert found.problems == []
    assert found.glibc[0].isdigit()
    assert found.open_files > 0
    assert [(engine.program, engine.model_trouble) for engine in found.engines] == [
        ("/bin/echo", ""),
        ("/bin/echo", f"{tmp_path}/none.gguf: No such file or directory"),
    ]
    assert found.engines[0].version
    assert [disk.purpose for disk in found.disks] == ["state", "models"]
    assert all(disk.free for disk in found.disks)
    assert (found.port_trouble, found.state_trouble, found.config_open) == ("", "", False)


async def test_what_cannot_be_used_is_a_fact_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = await facts(
            tmp_path,
            f'[server]\nstate_dir = "{tmp_path}"\nlisten = "127.0.0.1:{port}"\n'
            '[[backends]]\nname = "gone"\nengine = "openai"\nurl = "http://127.0.0.1:1"\n',
            HTTPS_PROXY="http://proxy",
        )
    assert "another program listens there" in found.port_trouble
    assert found.backends[0].trouble
    assert found.proxies == ["HTTPS_PROXY"]


async def test_a_configuration_that_is_none_is_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    found = await facts(tmp_path, "[server\n")
    assert found.problems
    missing = await gather(Told(tmp_path / "none.toml", {}, has_environment_keys=False))
    assert "none.toml" in missing.problems[0]
    assert missing.open_files > 0


async def test_a_socket_that_a_killed_server_has_left_is_no_server(tmp_path: Path) -> None:
    text = f'[server]\nstate_dir = "{tmp_path}"\nlisten = "127.0.0.1:0"\n'
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "ops.sock"))
        assert not (await facts(tmp_path, text)).served
        left.listen()
        assert (await facts(tmp_path, text)).served


@pytest.fixture
def shut() -> Iterator[Path]:
    """A directory that only its owner may look into, in one where everybody may (unlike `tmp_path`)."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "state").mkdir(mode=0o700 if os.geteuid() == 0 else 0)
        yield place / "state"


async def test_a_state_directory_of_somebody_else_is_a_fact(shut: Path) -> None:
    text = f'[server]\nstate_dir = "{shut}"\nlisten = "127.0.0.1:0"\n'
    config = shut.with_name("a.toml")
    await trio.Path(config).write_text(text)
    with somebody_else():
        found = await gather(Told(config, {}, has_environment_keys=False))
    assert found.problems == []
    assert not found.served
    assert found.state_trouble == f"{shut} cannot be written by us"


async def test_a_disk_behind_a_directory_that_we_may_not_enter_is_not_said_to_hang(shut: Path) -> None:
    config = shut.with_name("a.toml")
    await trio.Path(config).write_text(f'[server]\nstate_dir = "{shut / "deeper"}"\nlisten = "127.0.0.1:0"\n')
    with somebody_else():
        found = await gather(Told(config, {}, has_environment_keys=False))
    assert [(disk.free, disk.trouble) for disk in found.disks] == [(None, "Permission denied")]


async def test_a_state_directory_that_is_open_is_closed_by_the_server_or_has_to_be_by_hand(tmp_path: Path) -> None:
    state = tmp_path / "s"
    state.mkdir()
    state.chmod(0o755)
    text = f'[server]\nstate_dir = "{state}"\nlisten = "127.0.0.1:0"\n'
    found = await facts(tmp_path, text)
    assert (found.state_open, found.state_trouble) == (f"{state} is open to others (mode 0755)", "")
    (state / "thesis.txt").touch()
    assert "is not the appliance's alone" in (await facts(tmp_path, text)).state_trouble


async def test_a_command_without_a_model_has_none_to_be_read(tmp_path: Path) -> None:
    text = '[[runtimes]]\nname = "c"\nengine = "command"\ncommand = ["/bin/echo", "{port}"]\n'
    found = await facts(tmp_path, text)
    assert [engine.model_trouble for engine in found.engines] == [None]
    assert "engine.model" not in [finding.id for finding in examine(found)]


async def test_an_internal_authority_is_looked_at_like_any_certificate(tmp_path: Path) -> None:
    text = f'[server]\nlisten = "127.0.0.1:0"\ntls = "internal"\nnames = ["llm.lan"]\nstate_dir = "{tmp_path}/s"\n'
    assert (await facts(tmp_path, text)).certificates == []  # the first start makes it
    issuer = Issuer(tmp_path / "s", [], "box", "127.0.0.1", list, time.time)
    issuer.settle()
    found = await facts(tmp_path, text)
    assert [round(left / 86400) for _, left in found.certificates] == [90, 3652]
    assert found.unnamed == ["llm.lan"]
    issuer.answer_to(["llm.lan"])
    issuer.renew(authority=True)
    assert (await facts(tmp_path, text)).unnamed == []


async def test_the_limits_of_the_service_count_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "LoadState=loaded\\nDelegate=yes\\nLimitNOFILE=1048576\\n"
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = await facts(tmp_path, f'[server]\nstate_dir = "{tmp_path}/s"\nlisten = "127.0.0.1:0"\n')
    assert (found.cgroup, found.open_files) == (True, 1048576)
    program.write_text("#!/bin/sh\nprintf 'LoadState=not-found\\nDelegate=yes\\nLimitNOFILE=7\\n'\n")
    found = await facts(tmp_path, f'[server]\nstate_dir = "{tmp_path}/s"\nlisten = "127.0.0.1:0"\n')
    assert found.open_files != 7
