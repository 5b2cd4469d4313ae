import getpass
import os
import subprocess
import sys

from appliance.gpus.processes import alive, command_of, user_of


def test_a_process_has_a_name_and_a_user() -> None:
    assert alive(os.getpid())
    assert user_of(os.getpid()) == getpass.getuser()
    assert "python" in command_of(os.getpid()) or "pytest" in command_of(os.getpid())


def test_a_long_command_line_is_shortened_and_what_follows_is_not_told() -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)  #" + "x" * 100, "--secret", "sk-abc"]
    with subprocess.Popen(words) as process:
        try:
            told = command_of(process.pid)
        finally:
            process.kill()
    assert len(told) <= 60
    assert "sk-abc" not in told


def test_who_has_gone_is_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not alive(process.pid)
    assert (user_of(process.pid), command_of(process.pid)) == ("?", "?")
