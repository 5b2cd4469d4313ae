from pathlib import Path

import trio
import trio.testing

from appliance.console.recently import MOST, Recently
from tests.events.test_journal import journal


async def test_the_last_events_are_at_hand_the_newest_first(tmp_path: Path, nursery: trio.Nursery) -> None:
    own = journal(tmp_path / "events.db")
    async with own.written():
        for number in range(MOST + 3):
            own.tell("key.created", f"before {number}", "x")
        recently = Recently(own)
        nursery.start_soon(recently.run)
        await trio.testing.wait_all_tasks_blocked()
        assert [event.subject for event in recently][:2] == [f"before {MOST + 2}", f"before {MOST + 1}"]
        own.tell("key.revoked", "now", "x")
        await trio.testing.wait_all_tasks_blocked()
        assert next(iter(recently)).subject == "now"
        assert len(list(recently)) == MOST
        own.end()
        await trio.testing.wait_all_tasks_blocked()
