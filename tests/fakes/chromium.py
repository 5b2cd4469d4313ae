"""Debian's Chromium, driven through its DevTools protocol: a person in front of a page."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

PROGRAM = shutil.which("chromium") or ""
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check"),
    *("--hide-scrollbars", "--remote-debugging-port=0", "--ignore-certificate-errors", "about:blank"),
)
_PATIENCE = 20.0  # seconds for what a page shall show; the machine may be busy


class Tab:
    """One page.

    Attributes:
        complaints: what the page's console said as an error, and what its policy refused.
    """

    def __init__(self, socket: WebSocketConnection, session: str) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._session = session
        self._numbers = itertools.count(1)
        self._answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take answers and events until cancelled."""
        while True:
            message = json.loads(await self._socket.get_message())
            waiting = self._answers.pop(message.get("id", 0), None)
            if waiting is not None:
                waiting.send_nowait(message)
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])
            elif message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]["exceptionDetails"])[:500])

    async def send(self, method: str, *, browser: bool = False, **params: object) -> dict[str, Any]:
        """One command; what it gives back."""
        number = next(self._numbers)
        told, answer = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[number] = told
        command = {"id": number, "method": method, "params": params}
        await self._socket.send_message(json.dumps(command if browser else command | {"sessionId": self._session}))
        with trio.fail_after(60):
            message = await answer.receive()
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def attach(self) -> None:
        """Become the browser's page."""
        targets = await self.send("Target.getTargets", browser=True)
        (page,) = [one["targetId"] for one in targets["targetInfos"] if one["type"] == "page"]
        self._session = (await self.send("Target.attachToTarget", browser=True, targetId=page, flatten=True))[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")

    async def js(self, expression: str) -> Any:
        """What an expression of the page's script gives, awaited; as JSON."""
        said = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, expression: str, seconds: float = _PATIENCE) -> Any:
        """Wait until an expression gives something true; that."""
        with trio.move_on_after(seconds):
            while True:
                try:
                    if found := await self.js(expression):
                        return found
                except AssertionError:  # between two pages
                    pass
                await trio.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {expression}\n{await self.js('document.body.innerText')}")

    async def shows(self, text: str, seconds: float = _PATIENCE) -> None:
        """Wait until a text can be read on the page."""
        await self.until(f"document.body && document.body.innerText.includes({json.dumps(text)})", seconds)

    async def open(self, url: str) -> None:
        """Go to an address, and wait until its page is there."""
        await self.js("window.wasHere = true")
        await self.send("Page.navigate", url=url)
        await self.until("!window.wasHere && document.readyState === 'complete'")

    async def click(self, selector: str) -> None:
        """Click on an element once it can be seen and nothing covers it, in one step: live pages move things about."""
        await self.until(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{block: 'center'}});"
            "const box = one.getBoundingClientRect();"
            "const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);"
            "if (!one.contains(hit)) return false; one.click(); return true; })()"
        )

    async def type(self, selector: str, text: str) -> None:
        """Type into a field, in place of what it has."""
        await self.until(f"!!document.querySelector({json.dumps(selector)})")
        await self.js(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.js(f"document.querySelector({json.dumps(selector)}).select?.()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key, such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = "\r" if key == "Enter" else ""
        await self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def look(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Have a window of this size, and a taste."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path, *, whole: bool = False) -> None:
        """Save what is to be seen as a PNG; the `whole` page, or what fits into the window."""
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await trio.Path(file).write_bytes(base64.b64decode(shot["data"]))

    async def answer_dialogs(self) -> None:
        """Say yes to whatever the page asks."""
        await self.js("window.confirm = () => true")


def _started(profile: Path) -> "subprocess.Popen[bytes]":
    command, nowhere = [PROGRAM, f"--user-data-dir={profile}", *_FLAGS], subprocess.DEVNULL
    return subprocess.Popen(command, stdout=nowhere, stderr=nowhere, start_new_session=True)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """A browser with one page; its profile is in `folder`."""
    profile = folder / "profile"
    process = _started(profile)
    try:
        told = profile / "DevToolsActivePort"
        with trio.fail_after(60):
            while not told.exists() or len(told.read_text().splitlines()) < 2:
                assert process.poll() is None, "Chromium did not start"
                await trio.sleep(0.05)
        port, path = told.read_text().splitlines()[:2]
        async with (
            open_websocket_url(f"ws://127.0.0.1:{port}{path}", max_message_size=2**26) as socket,
            trio.open_nursery() as nursery,
        ):
            tab = Tab(socket, "")
            nursery.start_soon(tab.listen)
            await tab.attach()
            await tab.look()
            yield tab
            nursery.cancel_scope.cancel()
    finally:
        process.terminate()
        process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its helpers, which may take their time
