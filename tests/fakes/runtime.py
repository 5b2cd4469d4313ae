"""A runtime that answers as told."""

import trio

from appliance.domain.targets import Address, Endpoint, Lease
from appliance.errors import GatewayError

SOCKET = Endpoint(Address("unix", "/run/m.sock"))


class FakeRuntime:
    """Ready at once, or refusing with an error; its process ends when a test says so."""

    def __init__(self, refusal: GatewayError | None = None) -> None:
        self.refusal = refusal
        self.asked: list[str] = []
        self.held: set[Lease] = set()
        self.ended = trio.Event()  # the process that is lent

    async def ensure_ready(self, runtime: str, affinity: bytes = b"", *, elsewhere: bool = False) -> Lease:
        self.asked.append(runtime)
        if self.refusal is not None:
            raise self.refusal
        lease = Lease(SOCKET, runtime, self.held.discard)
        self.held.add(lease)
        return lease

    async def seen_to_end(self, lease: Lease, within: float) -> bool:
        with trio.move_on_after(within):
            await self.ended.wait()
        return self.ended.is_set()

    async def stop(self, runtime: str) -> None:
        self.asked.append(f"stop {runtime}")
