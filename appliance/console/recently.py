"""What happened last, at hand for pages that are made once a second and must not wait for a file."""

from collections import deque
from collections.abc import Iterator

from appliance.domain.events import Event, Wanted
from appliance.errors import GatewayError
from appliance.events.journal import Journal, Place

MOST = 12
_PATIENCE = 3600.0  # seconds; there is nothing else to do meanwhile


class Recently:
    """The last events."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._events: deque[Event] = deque(maxlen=MOST)

    def __iter__(self) -> Iterator[Event]:
        """The newest first."""
        return reversed(self._events)

    async def run(self) -> None:
        """Read along until cancelled, or until the server goes away."""
        last = self._journal.last
        self._events.extend(await self._journal.newest(Wanted(), MOST))
        place = Place(self._journal, self._events[-1].id if self._events else last)
        try:
            while True:
                event = await place.next(_PATIENCE)
                if event is not None:
                    self._events.append(event)
        except GatewayError:  # nothing more will come
            return
