import hashlib
import logging
from pathlib import Path

import pytest

from appliance.access.keys import KeyRing
from appliance.config.schema import Config, Key, Limits, Model, Server
from appliance.domain.secret import Secret
from appliance.errors import GatewayError, OperatorError
from appliance.keystore.file import KeyFile
from appliance.keystore.stored import NewKey, made, with_new
from appliance.limits.account import Spent
from appliance.limits.ledger import Ledger, Spendings
from appliance.recording import recorder_of
from appliance.roster import Roster, admission_of, needs_no_key

NOW = 1_800_000_000.0
TOML = Key(name="toml", hash=f"sha256:{hashlib.sha256(b'k-toml').hexdigest()}", limits=Limits(concurrent=1))
STORED = made(NewKey(name="stored", limits=Limits(tokens_per_day=100)), "k-stored", "", NOW)


class Live:
    """A roster with what it changes."""

    def __init__(self, config: Config) -> None:
        self.ring = KeyRing((), date=lambda: NOW)
        self.ledger = Ledger({}, date=lambda: NOW)
        self.used = Spendings()
        self.roster = Roster(config, (), [Secret("k-env")], self.ring, self.ledger, self._spent)

    async def _spent(self) -> Spendings:
        return self.used

    def who(self, text: str) -> str | None:
        try:
            return self.ring.find([("x-api-key", text)]).name
        except GatewayError:
            return None


async def test_a_reload_keeps_the_stored_keys_and_a_stored_key_those_of_the_configuration() -> None:
    live = Live(Config(keys=(TOML,)))
    await live.roster.stored_changed((STORED,))
    assert [live.who(text) for text in ("k-toml", "k-stored", "k-env")] == ["toml", "stored", "env-1"]
    live.roster.configure(Config(), Spendings())
    assert [live.who(text) for text in ("k-toml", "k-stored", "k-env")] == [None, "stored", "env-1"]
    assert live.roster.configured() == set()
    await live.roster.stored_changed(())
    assert live.who("k-stored") is None


async def test_limits_come_with_their_keys_and_keep_what_is_used() -> None:
    live = Live(Config(keys=(TOML,), models=(Model(name="m", targets=("m",), limits=Limits(concurrent=2)),)))
    live.used = Spendings({"stored": Spent(day=90, month=90)})
    await live.roster.stored_changed((STORED,))
    with pytest.raises(GatewayError, match="insufficient_quota"):
        live.ledger.admit("stored", "other", 11, 0.0)
    permit = live.ledger.admit("toml", "m", 1, 0.0)
    assert permit is not None
    await live.roster.stored_changed(())
    with pytest.raises(GatewayError, match="rate_limit_exceeded"):
        live.ledger.admit("toml", "m", 1, 0.0)
    live.ledger.admit("env-1", "m", 1, 0.0)
    with pytest.raises(GatewayError, match="The model 'm' has 2 requests under way"):
        live.ledger.admit("env-1", "m", 1, 0.0)


async def test_a_name_of_the_configuration_wins_and_the_operator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    live = Live(Config())
    await live.roster.stored_changed((STORED,))
    with caplog.at_level(logging.WARNING):
        live.roster.configure(Config(keys=(Key(name="stored", hash=TOML.hash),)), Spendings())
    assert (live.who("k-stored"), live.who("k-toml")) == (None, "stored")
    assert "the stored key 'stored' opens nothing" in caplog.text


def store(directory: Path) -> None:
    KeyFile(directory).change(lambda keys: with_new(keys, STORED, (), NOW))


def test_a_server_with_stored_keys_asks_for_one(tmp_path: Path) -> None:
    config = Config(server=Server(state_dir=str(tmp_path)))
    assert needs_no_key(config, ())
    assert not needs_no_key(config, [Secret("x")])
    store(tmp_path)
    assert not needs_no_key(config, ())
    admission = admission_of(config, (), recorder_of(config), lambda: NOW)
    assert not admission.open
    assert admission.ring.find([("x-api-key", "k-stored")]).name == "stored"
    KeyFile(tmp_path).change(lambda _: ())
    assert not needs_no_key(config, ()), "without a key that works it is closed, not open"


def test_a_store_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    KeyFile(tmp_path).path.write_bytes(b"broken")
    config = Config(keys=(TOML,), server=Server(state_dir=str(tmp_path)))
    with pytest.raises(OperatorError, match="stored keys"):
        admission_of(config, (), recorder_of(config), lambda: NOW)


async def test_whoever_watches_is_told_of_the_stored_keys_among_those_of_the_configuration() -> None:
    live = Live(Config(keys=(TOML,)))
    told: list[list[tuple[str, int]]] = []
    live.roster.watch(lambda config: told.append([(key.name, key.weight) for key in config.keys]))
    heavy = made(NewKey(name="heavy", weight=3, priority=1), "k-heavy", "", NOW)
    await live.roster.stored_changed((heavy,))
    live.roster.configure(Config(), Spendings())
    assert told == [[("toml", 1)], [("toml", 1), ("heavy", 3)], [("heavy", 3)]]
