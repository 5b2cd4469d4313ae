"""A thousand clients at once, each on a connection of its own."""

from dataclasses import dataclass, field

import trio


@dataclass(slots=True)
class Answer:
    """What one request got."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


def request(key: str, body: bytes, path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def answer(stream: trio.SocketStream) -> Answer:
    """The next answer, which has a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            return Answer(0)
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive_some(65536)
    return Answer(int(first.split()[1]), headers, body)


async def all_at_once(port: int, key: str, body: bytes, count: int) -> list[Answer]:
    """Connect everybody, then let everybody ask in the same moment."""
    answers: list[Answer] = []
    ready, go = trio.Semaphore(0), trio.Event()

    async def one() -> None:
        async with await connect(port) as stream:
            ready.release()
            await go.wait()
            await stream.send_all(request(key, body))
            answers.append(await answer(stream))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        for _ in range(count):
            await ready.acquire()
        go.set()
    return answers
