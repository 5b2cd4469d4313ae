"""What a built, not running server has to give. The rest is shown by two processes in `tests/e2e/test_upgrade.py`."""

import os
import socket
from pathlib import Path
from typing import Any

from appliance.config.schema import Config, Key, Limits, Server
from appliance.door.listener import Caps, Listener
from appliance.handing_over import Estate
from appliance.parts import build
from appliance.service.notify import Manager
from appliance.takeover.messages import Hello

ALICE = Key(name="alice", hash="sha256:" + "0" * 64, limits=Limits(requests_per_minute=3))


async def test_it_offers_what_it_has_and_tells_the_manager_who_follows(tmp_path: Path) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "n"))
    config = Config(server=Server(listen="127.0.0.1:0", state_dir=str(tmp_path)), keys=(ALICE,))
    parts = build(config, (), {}, lambda _: None, None)
    listener = await Listener.bind("127.0.0.1", 0, parts.reception, Caps(9))
    quiet: list[bool] = []
    manager = Manager(str(tmp_path / "n"))
    estate = Estate(config, parts, listener, manager, lambda: quiet.append(True))
    parts.supervisor.lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    offer, files = estate.offer()
    assert (offer.listen, offer.state_dir, offer.files) == ("127.0.0.1:0", str(tmp_path), ["client", "lock"])
    again = socket.socket(fileno=files[0])
    assert again.getsockname()[1] == listener.port
    assert os.path.samestat(os.fstat(files[1]), os.fstat(parts.supervisor.lock))
    assert await estate.settled() == ""
    told: list[Any] = []
    with estate.frozen(), estate.paused():
        frozen = [parts.supervisor.frozen]
        commit = estate.commit(told.append)
        assert [(one.noun, one.name) for one in commit.accounts] == [("key", "alice")]
        parts.ledger.admit("alice", "m", 5, 1.0)
        estate.take_back()
        parts.ledger.admit("alice", "m", 5, 1.0)
    assert len(told) == 1
    assert [*frozen, parts.supervisor.frozen] == [True, False]
    estate.let_go(Hello(1, "2", 77))
    assert heard.recv(99).split(b"\n") == [b"MAINPID=77", b"WATCHDOG=1"]
    assert (quiet, parts.supervisor.gone, listener.files) == ([True], True, [-1])
    for file in (files[1], parts.supervisor.lock):
        os.close(file)
    again.close()
    heard.close()
    await parts.upstreams.aclose()
