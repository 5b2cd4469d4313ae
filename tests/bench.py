"""What the gateway costs: the scripted engine asked directly, and through the appliance (`make bench`).

Absolute numbers belong to this machine, and most of them to the engine and to this script; the ratio is what to watch.
Every party is a process of its own, and the rounds alternate so that a machine that slows down harms both alike.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

_ROUNDS = 2
_TOKENS = 128
_CONFIG = """
[server]
listen = "127.0.0.1:{port}"
auth = "open"
state_dir = "{folder}/state"

[[backends]]
name = "engine"
engine = "openai"
url = "http://127.0.0.1:{engine}"

[[models]]
name = "bench"
targets = ["engine/scripted"]
"""


@dataclass(slots=True)
class Count:
    """What one round got through."""

    requests: int = 0
    tokens: int = 0


def request(*, stream: bool, tokens: int) -> bytes:
    """One HTTP request, ready to send."""
    message = {"role": "user", "content": "Say something about the sea."}
    body = json.dumps({"model": "bench", "stream": stream, "max_tokens": tokens, "messages": [message]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def exchange(stream: trio.SocketStream, data: bytes) -> bytes:
    """Send, and read to the end of the reply; only what a benchmark needs to know of HTTP."""
    await stream.send_all(data)
    got = b""
    while b"\r\n\r\n" not in got:
        got += await _more(stream)
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1") + body.decode("latin-1"))
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    parts = [body]
    if lengths:
        missing = int(lengths[0].partition(b":")[2]) - len(body)
        while missing > 0:
            parts.append(await _more(stream))
            missing -= len(parts[-1])
    else:
        while not b"".join(parts[-2:]).endswith(b"0\r\n\r\n"):
            parts.append(await _more(stream))
    return b"".join(parts)


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(262144))
    if not data:
        raise RuntimeError("the connection was closed in the middle of a reply")
    return data


async def one_round(port: int, *, stream: bool, clients: int, seconds: float) -> Count:
    """Ask as fast as the other side answers, from `clients` connections at once."""
    count = Count()
    data = request(stream=stream, tokens=_TOKENS if stream else 1)

    async def client() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as connection:
            while True:
                reply = await exchange(connection, data)
                count.requests += 1
                count.tokens += reply.count(b'"content":') - 1 if stream else 1

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(clients):
                nursery.start_soon(client)
    return count


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def program(log: Path, *args: str) -> Iterator[None]:
    """One of our own programs, for as long as the block runs; it logs to a file, as it does in service."""
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, "-m", "appliance", *args], stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


async def wait_for(port: int) -> None:
    """Return when a request is answered; the model may need a probe before it is known."""
    data = request(stream=False, tokens=1)
    with trio.fail_after(30):
        while True:
            try:
                async with await trio.open_tcp_stream("127.0.0.1", port) as connection:
                    await exchange(connection, data)
            except (OSError, RuntimeError):
                await trio.sleep(0.1)
            else:
                return


async def measure(engine: int, gateway: int, clients: int, seconds: float) -> None:
    """Print one line for plain requests and one for streams."""
    for port in (engine, gateway):
        await wait_for(port)
    print(f"{clients} clients, best of {_ROUNDS} rounds of {seconds:g} s")
    for stream, unit in ((False, "requests/s"), (True, "streamed tokens/s")):
        best = {engine: 0.0, gateway: 0.0}
        for _ in range(_ROUNDS):
            for port in (engine, gateway):
                count = await one_round(port, stream=stream, clients=clients, seconds=seconds)
                best[port] = max(best[port], (count.tokens if stream else count.requests) / seconds)
        ratio = best[gateway] / best[engine]
        print(f"{unit:18} direct {best[engine]:10,.0f}   gateway {best[gateway]:10,.0f}   ratio {ratio:.2f}")


def main() -> None:
    """Start both, measure, stop both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3)
    args = parser.parse_args()
    engine, gateway = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
        config = Path(folder, "appliance.toml")
        config.write_text(_CONFIG.format(port=gateway, engine=engine, folder=folder), encoding="utf-8")
        with (
            program(Path(folder, "engine.log"), "_engine", "--port", str(engine), "--tokens", str(_TOKENS)),
            program(Path(folder, "gateway.log"), "serve", "--config", str(config)),
        ):
            trio.run(measure, engine, gateway, args.clients, args.seconds)


if __name__ == "__main__":
    main()
