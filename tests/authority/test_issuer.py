import logging
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path

import pytest
import trio

from appliance.authority.issue import read, subject_in
from appliance.authority.issuer import Issuer, internal_authority, internal_pair
from appliance.authority.subject import Interface
from appliance.errors import OperatorError

DAY = 86400.0


@dataclass
class World:
    """A machine whose clock and addresses are set."""

    state: Path
    now: float = 1_795_000_000.0
    addresses: list[Interface] = field(default_factory=lambda: [ip_interface("192.168.7.20/24")])

    def issuer(self, *names: str) -> Issuer:
        return Issuer(self.state, names, "gpubox", "0.0.0.0", lambda: self.addresses, lambda: self.now)

    def leaf(self) -> bytes:
        return Path(internal_pair(self.state).cert).read_bytes()

    def authority(self) -> bytes:
        return Path(internal_authority(self.state).cert).read_bytes()

    def held(self) -> list[str]:
        return subject_in(read(self.leaf())).words()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "new" / "state")


def test_the_first_start_makes_everything_and_the_second_nothing(world: World) -> None:
    issuer = world.issuer("llm.lan")
    assert issuer.settle()
    assert world.held() == ["llm.lan", "gpubox", "gpubox.local", "localhost", "192.168.7.20", "127.0.0.1", "::1"]
    assert {path.name: path.stat().st_mode & 0o777 for path in (world.state / "tls").iterdir()} == {
        "authority.pem": 0o600,
        "server.pem": 0o600,
        "ca.pem": 0o600,
    }
    assert (world.state.stat().st_mode & 0o777, (world.state / "tls").stat().st_mode & 0o777) == (0o700, 0o700)
    assert issuer.public == (world.state / "tls" / "ca.pem").read_bytes()
    again = world.issuer("llm.lan")
    assert not again.settle()
    assert again.public == issuer.public


def test_it_is_renewed_thirty_days_before_its_end(world: World) -> None:
    issuer = world.issuer()
    issuer.settle()
    before = world.leaf()
    world.now += 59 * DAY
    assert not issuer.settle()
    world.now += 2 * DAY
    assert issuer.settle()
    assert world.leaf() != before


def test_it_is_renewed_when_the_clock_was_wrong(world: World) -> None:
    issuer = world.issuer()
    issuer.settle()
    world.now -= 3 * DAY
    assert issuer.settle()


def test_other_names_and_addresses_make_another_certificate_and_no_other_authority(world: World) -> None:
    world.issuer("llm.lan").settle()
    authority = world.authority()
    world.addresses = [ip_interface("192.168.7.33/24")]
    assert world.issuer("a.llm.lan").settle()
    assert world.held()[0] == "a.llm.lan"
    assert "192.168.7.33" in world.held()
    assert world.authority() == authority


def test_what_the_authority_may_not_sign_is_left_out_and_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.issuer().settle()
    authority = world.authority()
    issuer = world.issuer("llm.lan")
    world.addresses = [ip_interface("10.0.0.5/8")]
    issuer.settle()
    issuer.settle()
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "llm.lan, 10.0.0.5" in record.getMessage()
    assert issuer.left_out() == ["llm.lan", "10.0.0.5"]
    assert "llm.lan" not in world.held()
    assert world.authority() == authority

    issuer.renew(authority=True)
    assert world.held()[0] == "llm.lan"
    assert issuer.left_out() == []
    assert world.authority() != authority
    assert issuer.public != b""


def test_a_new_one_now(world: World) -> None:
    issuer = world.issuer()
    issuer.settle()
    authority, leaf = world.authority(), world.leaf()
    issuer.renew(authority=False)
    assert world.authority() == authority
    assert world.leaf() != leaf


def test_a_broken_certificate_is_replaced_and_a_broken_authority_is_not(world: World) -> None:
    issuer = world.issuer()
    issuer.settle()
    Path(internal_pair(world.state).cert).write_bytes(b"half")
    assert issuer.settle()
    Path(internal_authority(world.state).cert).write_bytes(b"half")
    with pytest.raises(OperatorError, match="put it back from a copy"):
        issuer.settle()


def test_an_authority_that_has_ended_is_of_no_use_to_anybody(world: World) -> None:
    issuer = world.issuer()
    issuer.settle()
    world.now += 3660 * DAY
    assert issuer.settle()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match=r"^TLS: .*file"):
        World(tmp_path / "file" / "state").issuer().settle()


async def test_new_names_are_seen_to_at_once(world: World) -> None:
    issuer = world.issuer("llm.lan")
    await trio.to_thread.run_sync(issuer.settle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(issuer.run)
        issuer.answer_to(["b.llm.lan"])
        with trio.fail_after(30):
            while "b.llm.lan" not in world.held():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
