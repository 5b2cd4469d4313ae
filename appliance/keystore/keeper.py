"""The stored keys of a running server."""

import logging
from collections.abc import Awaitable, Callable, Collection

import trio

from appliance.errors import OperatorError
from appliance.keystore.file import KeyFile, Signature, fresh_text
from appliance.keystore.stored import Keys, NewKey, StoredKey, made, require, revoked, rotated, with_new

_LOG = logging.getLogger("appliance.keys")
_LOOK_EVERY = 1.0  # seconds


class Keeper:
    """Changes the stored keys, and notices when somebody else has.

    Args:
        file: where they are.
        keys: as read when the server was built.
        prefix: what new keys begin with.
        date: seconds since 1970.
        configured: names in the configuration as it is now.
        changed: puts keys into effect.

    Attributes:
        keys: in effect.
    """

    def __init__(
        self,
        file: KeyFile,
        keys: Keys,
        prefix: str,
        date: Callable[[], float],
        configured: Callable[[], Collection[str]],
        changed: Callable[[Keys], Awaitable[None]],
    ) -> None:
        self.keys = keys
        self._file = file
        self._prefix = prefix
        self._date = date
        self._configured = configured
        self._changed = changed
        self._seen: Signature = None
        self._one = trio.Lock()

    async def create(self, wanted: NewKey) -> tuple[str, StoredKey]:
        """Make a key: its text, which nobody will see again, and what is kept of it.

        Raises:
            OperatorError: it cannot be made.
        """
        now = self._date()
        prefix = self._prefix if wanted.prefix is None else wanted.prefix
        text = fresh_text(prefix)
        new = made(wanted, text, prefix, now)
        await self._change(lambda keys: with_new(keys, new, self._configured(), now))
        return text, new

    async def rotate(self, name: str, grace: float) -> tuple[str, StoredKey]:
        """Give a key a new text; the old one works for `grace` seconds more.

        Raises:
            OperatorError: there is no such key, it has ended, or it is not ours to change.
        """
        letters, now = fresh_text(""), self._date()

        def edit(keys: Keys) -> Keys:
            require(keys, name, self._configured())
            return rotated(keys, name, letters, grace, now)

        key = require(await self._change(edit), name, ())
        return key.prefix + letters, key

    async def revoke(self, name: str) -> tuple[bool, StoredKey]:
        """End a key at once; whether it had not ended before.

        Raises:
            OperatorError: there is no such key, or it is not ours to change.
        """
        now = self._date()
        before: list[StoredKey] = []

        def edit(keys: Keys) -> Keys:
            before.append(require(keys, name, self._configured()))
            return revoked(keys, name, now)

        after = await self._change(edit)
        return before[0].revoked is None, require(after, name, ())

    async def _change(self, edit: Callable[[Keys], Keys]) -> Keys:
        async with self._one:
            # Not to be cancelled between the disk and the memory: both have it, or neither.
            with trio.CancelScope(shield=True):
                keys = await trio.to_thread.run_sync(self._file.change, edit)
                await self._use(keys)
            return keys

    async def watch(self) -> None:
        """Look now and then whether the file has changed, and put it into effect."""
        while True:
            await self.look()
            await trio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Put the file into effect if it has changed; one that cannot be read changes nothing."""
        seen = await trio.to_thread.run_sync(self._file.signature)
        if seen == self._seen:
            return
        async with self._one:
            try:
                keys = await trio.to_thread.run_sync(self._file.read)
            except OperatorError as error:
                _LOG.error("%s. The stored keys stay as they were", error)
            else:
                if keys != self.keys:
                    _LOG.info("stored keys were changed: %s", ", ".join(_differing(self.keys, keys)))
                    await self._use(keys)
            self._seen = seen

    async def _use(self, keys: Keys) -> None:
        self.keys = keys
        await self._changed(keys)


def _differing(before: Keys, after: Keys) -> list[str]:
    return sorted({key.name for key in {*before} ^ {*after}})
