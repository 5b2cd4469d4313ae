from importlib.resources import files

import pytest

from appliance.installation.found import Found
from appliance.installation.steps import (
    CONFIG,
    STATE,
    UNIT,
    Command,
    Copy,
    Directory,
    File,
    Link,
    Ourselves,
    Owner,
    Remove,
    Step,
    installing,
    uninstalling,
    unit_text,
)

UNIT_TEMPLATE = "ExecStart=@BINARY@ serve --config @CONFIG@\nUser=@USER@\nSupplementaryGroups=@GROUPS@\nLast=1\n"


LAST = ("systemctl enable", "systemctl start")


def commands(steps: list[Step]) -> list[str]:
    return [step.argv[0] + " " + step.argv[1] for step in steps if isinstance(step, Command)]


def test_the_user_comes_first_and_the_start_last() -> None:
    steps = installing(Found(service_manager=True), Ourselves("/x"), "text", UNIT_TEMPLATE)
    assert commands(steps) == ["useradd --system", "systemctl daemon-reload", "systemctl restart", *LAST]
    assert isinstance(steps[0], Command)
    assert isinstance(steps[-1], Command)


def test_a_configuration_is_somebodys_work_and_stays() -> None:
    files = [step for step in installing(Found(), Ourselves("/x"), "text", UNIT_TEMPLATE) if isinstance(step, File)]
    assert [(step.path, step.keep, step.mode) for step in files] == [
        (CONFIG, True, 0o640),
        (UNIT, False, 0o644),
    ]


def test_the_service_may_replace_its_configuration_and_root_reads_nothing_beside_it() -> None:
    unit = (files("appliance") / "system" / "appliance.service").read_text()
    steps = installing(Found(), Ourselves("/x"), "text", unit)
    (directory,) = [step for step in steps if isinstance(step, Directory) and step.path == CONFIG.parent]
    assert (directory.owner, directory.mode) == (Owner("root", "appliance"), 0o770)
    (config,) = [step for step in steps if isinstance(step, File) and step.path == CONFIG]
    assert config.owner == Owner("appliance", "appliance")
    named = [line for line in unit_text(unit, "/x", ()).splitlines() if "/etc/appliance" in line and line[0] != "#"]
    commands = ("ExecStart=", "ExecStopPost=", "ReadWritePaths=")  # run as the service's user, or no file at all
    assert all(line.startswith(commands) for line in named)


def test_without_a_service_manager_nothing_is_started() -> None:
    assert commands(installing(Found(user=True), Ourselves("/x"), "text", UNIT_TEMPLATE)) == []


@pytest.mark.parametrize(
    ("ourselves", "expected", "runs"),
    [
        (Ourselves("/venv/bin/appliance"), [], "/venv/bin/appliance"),
        (Ourselves("/tmp/a", "/tmp/a"), [Copy], "/usr/local/bin/appliance"),
        (Ourselves("/tmp/d/appliance", "/tmp/d", directory=True), [Copy, Link], "/usr/local/bin/appliance"),
    ],
)
def test_a_binary_is_copied_and_anything_else_runs_where_it_is(
    ourselves: Ourselves, expected: list[type], runs: str
) -> None:
    steps = installing(Found(user=True), ourselves, "text", UNIT_TEMPLATE)
    assert [type(step) for step in steps if isinstance(step, Copy | Link)] == expected
    (unit,) = [step for step in steps if isinstance(step, File) and step.path == UNIT]
    assert unit.text.startswith(f"ExecStart={runs} serve")


def test_groups_that_do_not_exist_are_left_out() -> None:
    assert unit_text(UNIT_TEMPLATE, "/x", ("video", "render")).splitlines()[2] == "SupplementaryGroups=video render"
    assert unit_text(UNIT_TEMPLATE, "/x", ()).splitlines()[1:] == ["User=appliance", "Last=1"]


def test_what_the_owner_made_goes_only_when_that_is_asked_for() -> None:
    removed = [step.path for step in uninstalling(Found(user=True), purge=False) if isinstance(step, Remove)]
    assert CONFIG.parent not in removed
    assert STATE not in removed
    purged = uninstalling(Found(user=True, service_manager=True), purge=True)
    assert {CONFIG.parent, STATE} <= {step.path for step in purged if isinstance(step, Remove)}
    assert commands(purged) == ["systemctl disable", "systemctl daemon-reload", "userdel appliance"]


def test_every_step_has_words() -> None:
    steps = installing(Found(service_manager=True), Ourselves("/d/a", "/d", directory=True), "t", UNIT_TEMPLATE)
    assert all(step.words() for step in (*steps, *uninstalling(Found(user=True), purge=True)))
