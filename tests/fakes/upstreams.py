"""Model servers that answer as told, in order, and remember what they were asked."""

from typing import Any

from appliance.domain.targets import Endpoint
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest
from tests.fakes.upstream_reply import ScriptedReply


class ScriptedUpstreams:
    """Each `send` takes the next answer; an exception is raised."""

    def __init__(self, *answers: ScriptedReply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Endpoint, OutRequest]] = []

    async def send(self, endpoint: Endpoint, request: OutRequest, deadlines: Deadlines, **_: Any) -> ScriptedReply:
        self.asked.append((endpoint, request))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
