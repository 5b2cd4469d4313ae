import shutil
import subprocess

import pytest

from appliance.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
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
