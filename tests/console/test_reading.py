import json

import pytest
import trio

from appliance.console.pages import Asked
from appliance.console.reading import LogPages
from appliance.domain.http import Reply
from appliance.domain.orders import LogPiece
from appliance.errors import GatewayError
from appliance.observe.said import Said
from appliance.ops.following import FeedStream
from tests.console.test_errands import asked as somebody
from tests.fakes.consoles import header, text


class Replicas:
    """One replica that has written three lines, and then writes one a second."""

    def __init__(self) -> None:
        self.written = 0

    def log_lines(self, replica: str, last: int) -> list[str]:
        if replica != "m":
            raise GatewayError("model_not_found", f"There is no {replica}.")
        return ["a", "b", "c"][-last:]

    def follow(self, name: str, last: int) -> "Replicas":
        self.log_lines(name, last or 1)
        return self

    async def receive(self, patience: float) -> LogPiece | None:
        await trio.sleep(1)
        self.written += 1
        return LogPiece("m", [f"line {self.written}"])


class Scene:
    def __init__(self) -> None:
        self.said, self.welcome, self.leaving = Said(), True, False
        self.pages = LogPages(Replicas(), lambda: self.said, lambda: ["m"], lambda: self.leaving)

    def asked(self, of: str) -> Asked:
        person = somebody()
        return Asked(person.request, person.session, {"of": of}, welcome=lambda: self.welcome)

    async def followed(self, of: str) -> FeedStream:
        reply: Reply = await self.pages.follow(self.asked(of))
        assert isinstance(reply.body, FeedStream)
        assert (await reply.body.__anext__()).startswith(b":")
        return reply.body


def lines(event: bytes) -> list[str]:
    found: list[str] = json.loads(event.partition(b"data: ")[2])["lines"]
    return found


async def test_the_page_begins_with_the_last_lines() -> None:
    scene = Scene()
    scene.said.add('{"time": "2026-01-01T08:00:01", "level": "info", "event": "hello"}\n')
    assert (await scene.pages.page(scene.asked("m")))["lines"] == ["a", "b", "c"]
    assert (await scene.pages.page(scene.asked("")))["lines"] == ["08:00:01 info    hello"]
    with pytest.raises(GatewayError):
        await scene.pages.page(scene.asked("none"))


async def test_lines_come_as_they_are_written(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    stream = await scene.followed("m")
    assert lines(await stream.__anext__()) == ["line 1"]
    own = await scene.followed("")
    scene.said.add('{"time": "2026-01-01T08:00:01", "level": "info", "event": "hello"}\n')
    assert lines(await own.__anext__()) == ["08:00:01 info    hello"]
    assert (await own.__anext__()).startswith(b":")  # nothing new


@pytest.mark.parametrize("how", ["welcome", "leaving"])
async def test_nobody_reads_on_after_the_session(how: str, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    stream = await scene.followed("")
    setattr(scene, how, how == "leaving")
    assert b"event: end" in await stream.__anext__()
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()


async def test_a_log_is_a_file_of_a_harmless_name() -> None:
    scene = Scene()
    reply = await scene.pages.file(scene.asked("m"))
    assert text(reply) == "a\nb\nc\n"
    assert header(reply, "content-disposition") == 'attachment; filename="m.log"'
    assert 'filename="appliance.log"' in header(await scene.pages.file(scene.asked("")), "content-disposition")
