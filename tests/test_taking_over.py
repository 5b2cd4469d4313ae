"""What a new server does with what it is given. The rest is shown by two processes in `tests/e2e/test_upgrade.py`."""

import os
import socket
from pathlib import Path

import pytest

from appliance.config.schema import Config, Key, Limits, Server
from appliance.door.listener import Caps
from appliance.errors import OperatorError
from appliance.limits.account import Standing
from appliance.limits.handing import Change, Legacy
from appliance.parts import build
from appliance.takeover.channel import Channel
from appliance.takeover.messages import Offer
from appliance.takeover.taking import Taking
from appliance.taking_over import Heir

ALICE = Key(name="alice", hash="sha256:" + "0" * 64, limits=Limits(requests_per_minute=3, concurrent=1))
STANDING = Standing("key", "alice", (3, 0), None, (), held=5, under_way=1)


async def test_it_listens_where_the_old_one_did_and_counts_what_that_one_still_does(tmp_path: Path) -> None:
    config = Config(server=Server(listen="127.0.0.1:9", state_dir=str(tmp_path)), keys=(ALICE,))
    parts = build(config, (), {}, lambda _: None, None)
    one, other = socket.socketpair()
    taking, old = Taking(Channel(one), "2", managed=False), Channel(other)
    listening = socket.create_server(("127.0.0.1", 0))
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    port = listening.getsockname()[1]
    offer = Offer(1, "127.0.0.1:9", str(tmp_path), ["client", "lock"], [], [])
    old.post(offer, [listening.detach(), lock])
    heir = await Heir.meet(taking, config, parts)
    listener = heir.listener(Caps(9))
    assert listener.port == port
    heir._legacy = Legacy(parts.ledger, [STANDING])
    account = parts.ledger.accounts()[0]
    assert account.under_way == 1
    heir.changed(Change("key", "alice", "ended", 0, 5, 3))
    assert (account.under_way, account.held) == (0, 0)
    heir.changed(Change("key", "alice", "admitted", 0, 5))
    heir.over()
    assert (account.under_way, account.held) == (0, 0)
    come, gone = socket.socketpair()
    heir.client(come, "peer", operator=True)  # there is no such door: it is closed
    assert gone.recv(1) == b""
    gone.close()
    listener.close()
    os.close(heir.succession.lock)
    taking.channel.close()
    old.close()
    await parts.upstreams.aclose()


async def test_another_address_is_refused(tmp_path: Path) -> None:
    config = Config(server=Server(listen="127.0.0.1:8", state_dir=str(tmp_path)), keys=(ALICE,))
    parts = build(config, (), {}, lambda _: None, None)
    one, other = socket.socketpair()
    taking, old = Taking(Channel(one), "2", managed=False), Channel(other)
    old.post(Offer(1, "127.0.0.1:9", str(tmp_path), [], [], []))
    with pytest.raises(
        OperatorError, match=r"`listen` is 127\.0\.0\.1:8 in the configuration file and 127\.0\.0\.1:9 in"
    ):
        await Heir.meet(taking, config, parts)
    taking.channel.close()
    old.close()
    await parts.upstreams.aclose()
