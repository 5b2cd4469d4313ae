"""Who waits for a runtime, and whose place is kept. Pure: time is an argument."""

from dataclasses import dataclass

_SLACK = 5.0  # seconds that a client may be late


@dataclass(slots=True)
class Queue:
    """The requests that wait for one runtime.

    Whoever was sent away with the advice to come back in a while keeps the runtime's place in line until then:
    otherwise a client that asks again and again would never be served beside one that waits for longer than
    a request may.

    Attributes:
        waiting: how many there are.
        since: when it began: seconds, monotonic. It lasts for as long as somebody waits or is expected back.
        expected: until when somebody who was sent away is expected back.
    """

    waiting: int = 0
    since: float = 0.0
    expected: float = 0.0

    def asked(self, now: float) -> int:
        """How many ask for the runtime."""
        return self.waiting or int(now < self.expected)

    def join(self, now: float) -> None:
        """One more waits."""
        if not self.asked(now):
            self.since = now
        self.waiting += 1

    def leave(self) -> None:
        """One waits no more, for whatever reason."""
        self.waiting -= 1

    def sent_away(self, now: float, back_in: float) -> None:
        """One was told to come back in so many seconds."""
        self.expected = max(self.expected, now + back_in + _SLACK)

    def served(self, now: float) -> None:
        """The runtime is ready: whoever asks from now on is at the end of the line."""
        self.since = now
        self.expected = 0.0
