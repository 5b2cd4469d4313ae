import logging
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from appliance.errors import OperatorError
from appliance.keystore.file import KeyFile
from appliance.keystore.keeper import Keeper
from appliance.keystore.stored import Keys, NewKey, hash_of

NOW = 1_800_000_000.0


class Kept:
    """A keeper, and what it has put into effect."""

    def __init__(self, directory: Path, configured: frozenset[str] = frozenset({"toml"})) -> None:
        self.effect: list[Keys] = []
        self.file = KeyFile(directory)
        self.keeper = Keeper(self.file, self.file.read(), "sk-", lambda: NOW, lambda: configured, self._changed)

    async def _changed(self, keys: Keys) -> None:
        await trio.lowlevel.checkpoint()
        self.effect.append(keys)


async def test_what_is_made_is_in_the_file_and_in_effect_when_its_text_is_told(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    text, key = await kept.keeper.create(NewKey(name="a"))
    assert text.startswith("sk-")
    assert key.hash == hash_of(text)
    assert kept.effect[-1] == kept.file.read() == kept.keeper.keys == (key,)
    fresh, rotated = await kept.keeper.rotate("a", 60)
    assert rotated.hash == hash_of(fresh) != key.hash
    assert rotated.former[0].until == NOW + 60
    changed, ended = await kept.keeper.revoke("a")
    assert (changed, ended.revoked) == (True, NOW)
    assert (await kept.keeper.revoke("a"))[0] is False
    assert kept.effect[-1] == kept.file.read() == (ended,)
    text, _ = await kept.keeper.create(NewKey(name="b", prefix="org-"))
    assert text.startswith("org-")
    text, rotated = await kept.keeper.rotate("b", 0)
    assert text.startswith("org-"), "a key keeps its prefix"
    assert (rotated.start, rotated.hash) == (text[:8], hash_of(text))


async def test_keys_of_the_configuration_are_not_ours_to_change(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with pytest.raises(OperatorError, match="entry of the configuration"):
        await kept.keeper.create(NewKey(name="toml"))
    for action in (kept.keeper.rotate("toml", 0), kept.keeper.revoke("toml")):
        with pytest.raises(OperatorError, match="edit the file"):
            await action
    assert kept.effect == []


async def test_many_changes_at_once_are_all_made(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(kept.keeper.create, NewKey(name=f"k{number}"))
    assert len(kept.file.read()) == len(kept.keeper.keys) == 20


async def test_who_is_cancelled_leaves_the_file_and_the_memory_alike(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number in range(10):
        with trio.move_on_after(number / 1000):
            await kept.keeper.create(NewKey(name=f"k{number}"))
        assert kept.file.read() == kept.keeper.keys


async def test_what_somebody_else_wrote_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept, other = Kept(tmp_path), Kept(tmp_path)
    await kept.keeper.look()
    assert kept.effect == []
    _, key = await other.keeper.create(NewKey(name="beside"))
    with caplog.at_level(logging.INFO):
        await kept.keeper.look()
    assert kept.effect == [(key,)]
    assert "stored keys were changed: beside" in caplog.text
    await kept.keeper.look()
    assert len(kept.effect) == 1


async def test_a_file_that_breaks_leaves_the_keys_as_they_are_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(tmp_path)
    _, key = await kept.keeper.create(NewKey(name="a"))
    good = kept.file.path.read_bytes()
    kept.file.path.write_bytes(b"broken")
    for _ in range(3):
        await kept.keeper.look()
    assert kept.keeper.keys == (key,)
    assert caplog.text.count("The stored keys stay as they were") == 1
    kept.file.path.write_bytes(good)
    await kept.keeper.look()
    assert kept.keeper.keys == (key,)


async def test_it_looks_every_second(tmp_path: Path, autojump_clock: MockClock) -> None:
    looks: list[float] = []

    class Looking(Keeper):
        async def look(self) -> None:
            looks.append(trio.current_time())

    kept = Kept(tmp_path)
    keeper = Looking(kept.file, (), "sk-", lambda: NOW, tuple, kept._changed)
    with trio.move_on_after(5.5):
        await keeper.watch()
    assert [round(at - looks[0]) for at in looks] == [0, 1, 2, 3, 4, 5]
