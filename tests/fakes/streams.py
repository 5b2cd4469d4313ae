"""Many streams at once, to be run as a program: how each of them ended.

    python streams.py PORT KEY MODEL COUNT

It says "flowing" when every stream has begun, and at the end one JSON object: how many ended how.
"""

import json
import sys
from collections import Counter

import trio


async def one(port: int, key: str, model: str, began: trio.Semaphore) -> str:
    """How one stream ended: "done", "error event", "cut" without a word, "refused", or an HTTP status."""
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    data = b""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head.encode() + body)
            async for piece in stream:
                if b"data: " in piece and b"data: " not in data:
                    began.release()
                data += piece
                if b"data: [DONE]" in data:
                    return "done"
    except OSError:
        return "cut" if data else "refused"
    if b'"error"' in data:
        return "error event" if data.startswith(b"HTTP/1.1 200") else data[9:12].decode()
    return "cut" if data else "refused"


async def main(port: int, key: str, model: str, count: int) -> None:
    """Run them all."""
    ended: Counter[str] = Counter()
    began = trio.Semaphore(0)

    async def keep() -> None:
        ended[await one(port, key, model, began)] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(keep)
        for _ in range(count):
            await began.acquire()
        print("flowing", flush=True)
    print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
