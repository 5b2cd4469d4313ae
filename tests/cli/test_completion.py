import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_every_shell_gets_a_script_with_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in ("serve", "check", "status", "reload"))
    assert "_engine" not in script


def test_bash_completes_commands_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    assert bash is not None, "bash is part of every Debian"
    main(["completion", "bash"])
    ask = capsys.readouterr().out + (
        "\nCOMP_WORDS=(appliance rel); COMP_CWORD=1; COMP_TYPE=9; _shtab_appliance; echo ${COMPREPLY[@]}"
        "\nCOMP_WORDS=(appliance reload --dr); COMP_CWORD=2; _shtab_appliance; echo ${COMPREPLY[@]}\n"
    )
    said = subprocess.run([bash, "-c", ask], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.split() == ["reload", "--dry-run"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_completes_commands_and_their_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "fish"])
    script = tmp_path / "appliance.fish"
    script.write_text(capsys.readouterr().out)
    ask = f'source {script}; complete -C "appliance rel"; complete -C "appliance reload --dr"; complete -C "appliance cert tr"'
    said = subprocess.run(["fish", "-c", ask], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True,
                          text=True, timeout=30, check=True)  # fmt: skip
    assert [line.partition("\t")[0] for line in said.stdout.splitlines()] == ["reload", "--dry-run", "trust"]
