"""`appliance top`: what every model and request does, live, until `q`."""

import argparse
import json
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    connect_websocket_url,
    wrap_client_stream,
)

from appliance.cli import board, reach, tables
from appliance.errors import OperatorError
from appliance.sockets.private import reachable
from appliance.supervisor.state_dir import OPS

_PATH = "/ops/v1/live"
_QUIET = 10.0  # seconds without a snapshot, of which there should be one each second
_CONNECT = 10.0
_BARS = 60  # that the line of the last minute has at most


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "top",
        help="show what every model and request does, live",
        description="Models, processes, GPUs and the requests under way, every second, until q or Ctrl-C.",
        epilog="Exit codes: 0 done, 1 the server has gone away, 2 a mistake in the call or no answer.",
    )
    parser.add_argument("--once", action="store_true", help="print it once, for a pipe")
    parser.add_argument("--json", action="store_true", help="print the snapshot once, as JSON")
    reach.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it; see the exit codes above.

    Raises:
        OperatorError: see the exit code 2.
    """
    if args.json or args.once:
        state = reach.ask(args, "GET", "/ops/v1/state")
        if args.json:
            print(json.dumps(state, indent=2))
        else:
            tables.show(screen(state, None, tables.columns()))
        return 0
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise OperatorError("`top` needs a terminal. In a pipe use --once, --json, or `appliance status`")
    reach.ask(args, "GET", "/ops/v1/state")  # whatever is wrong is told as by the other commands
    return trio.run(_watch, args)


def screen(state: dict[str, Any], height: int | None, width: int, quit_by: str = "") -> RenderableType:
    """All of it, or what fits into so many lines; with what ends it in the first line, which is always seen."""
    rates = state.get("output_tokens_per_second", [])
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append("appliance top", style="bold")
    head.append(quit_by, style="dim")
    head.append(f"   {state['time'][11:19]} UTC   {state.get('in_flight', 0)} in flight   ")
    bars = board.sparkline(rates, min(max(width - 70 - len(quit_by), 10), _BARS))
    head.append(f"{rates[-1] if rates else 0:,.0f} tok/s  {bars}", style="cyan")
    told = list(board.notes(state))
    notes = Text("\n".join(told), style="yellow", no_wrap=height is not None, overflow="ellipsis")
    parts: list[RenderableType] = [head, *([notes] if told else []), ""]
    asked = len(state.get("requests", ()))
    if height is None:
        parts.append(board.board(state, width))
    else:
        height -= len(parts) + len(told)
        mine = min(asked, max(height // 4, 1)) + 2 if asked else 0
        parts.append(board.board(state, width, height - mine))
        asked = max(height - tables.height(parts[-1], width) - 2, mine - 2)
    under_way = board.requests(state, asked, width)
    if under_way.rows:
        parts += ["", under_way.shown(width)]
    return Group(*parts)


async def _watch(args: argparse.Namespace) -> int:
    console = Console(highlight=False)
    why = ""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_q, nursery.cancel_scope)
            nursery.start_soon(_until_interrupted, nursery.cancel_scope)
            async with _feed(args, nursery) as socket:
                try:
                    while True:
                        with trio.fail_after(_QUIET):
                            state = json.loads(await socket.get_message())
                        shown = screen(state, console.height, console.width, "   q: quit")
                        live.update(shown, refresh=True)
                except ConnectionClosed as closed:
                    why = (closed.reason.reason if closed.reason else "") or "the server has ended"
                except trio.TooSlowError:
                    why = f"the server has said nothing for {_QUIET:g} s"
            nursery.cancel_scope.cancel()
    if why:
        print(f"appliance: {why}", file=sys.stderr)
    return 1 if why else 0


async def _until_q(scope: trio.CancelScope) -> None:
    """End it all when somebody types q."""
    with _keys() as keyboard:
        while True:
            await trio.lowlevel.wait_readable(keyboard)
            typed = os.read(keyboard, 64)
            if not typed or b"q" in typed:
                scope.cancel()
                return


async def _until_interrupted(scope: trio.CancelScope) -> None:
    """The same for Ctrl-C, which the terminal makes a signal of."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


@contextmanager
def _keys() -> Iterator[int]:
    """Standard input, a key at a time and unseen; as it was before afterwards."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@asynccontextmanager
async def _feed(args: argparse.Namespace, nursery: trio.Nursery) -> AsyncIterator[WebSocketConnection]:
    """The snapshots, from wherever the options say that the server is."""
    try:
        with trio.fail_after(_CONNECT):
            if args.url or args.key_file:
                url, key = reach.url_and_key(args)
                headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
                there = f"ws{url.removeprefix('http')}{_PATH}"
                secure = reach.trusted() if url.startswith("https:") else None
                socket = await connect_websocket_url(nursery, there, ssl_context=secure, extra_headers=headers)
            else:
                with reachable(reach.state_dir(args) / OPS) as name:
                    stream = await trio.open_unix_socket(name)
                socket = await wrap_client_stream(nursery, stream, "appliance", _PATH)
    except (OSError, HandshakeError, trio.TooSlowError) as error:
        raise OperatorError(f"no live feed from the server: {error}") from error
    try:
        yield socket
    finally:
        await trio.aclose_forcefully(socket)  # no goodbye: a ping within it is a mistake to the library's reader
