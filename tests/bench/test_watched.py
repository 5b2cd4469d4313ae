"""The consoles of the row `watched`."""

import socket
from pathlib import Path

import pytest

from appliance.config.load import inspect
from bench.gateways import Appliance, Place
from bench.program import NotMeasuredError, find
from bench.watched import _TABLE, _Consoles


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    if not find("cc"):
        pytest.skip("no C compiler")
    Appliance(more=_TABLE).command(Place(1, 2, tmp_path))
    config, problems = inspect((tmp_path / "appliance.toml").read_text(), has_environment_keys=False)
    assert problems == []
    assert config is not None
    assert [key.scopes for key in config.keys][1] == ("admin",)


def test_consoles_count_what_each_of_them_is_shown_and_notice_an_end() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    consoles = _Consoles([ours for ours, _ in pairs])
    pairs[0][1].sendall(b"event: now\ndata: {}\n\nevent: now\ndata: {}\n\n")
    consoles.look(5)
    consoles.look(0)
    assert consoles.snapshots == [2, 0]
    pairs[1][1].close()
    with pytest.raises(NotMeasuredError):
        consoles.look(5)
    for pair in pairs:
        for end in pair:
            end.close()
