"""The chunks of Gemini's OpenAI-compatible streams, one by one, as the official SDKs need them.

Each chunk brings the role again, tool calls have no index and may have no id, an answer that calls tools ends with
"stop", counts may come early and more than once, and an error may come as a list.
"""

from typing import Any

import msgspec

from appliance.errors import ProtocolViolation
from appliance.sse import DONE, event, is_done
from appliance.translate.gemini import choices_of, name_call, plain_error

_ANY = msgspec.json.Decoder()
_DONE = event(DONE)


class RepairedChunks:
    """The state between two chunks.

    Args:
        created: Unix time of the answer, where the chunks do not tell.
    """

    def __init__(self, created: int) -> None:
        self._created = created
        self._id = ""
        self._begun: set[int] = set()  # choices whose role was told
        self._calls: dict[int, int] = {}  # how many each choice has
        self._usage: Any = None
        self._head: dict[str, Any] = {}

    def event(self, data: bytes) -> bytes:
        """The chunk for the data of one event.

        Raises:
            ProtocolViolation: it is no chunk.
        """
        if is_done(data):
            return self._last() + _DONE
        try:
            chunk = _ANY.decode(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolViolation(f"an event of the stream is not a chunk: {error}") from error
        if isinstance(chunk, list) or (isinstance(chunk, dict) and chunk.get("error")):
            found = plain_error(chunk)
            found["message"] = found["message"] or "The provider reported an error in its stream."
            return event(msgspec.json.encode({"error": found}))
        if not isinstance(chunk, dict):
            raise ProtocolViolation("an event of the stream is not a chunk")
        self._usage = chunk.pop("usage", None) or self._usage
        self._fill(chunk)
        choices = choices_of(chunk)
        for choice in choices:
            self._choice(choice)
        return event(msgspec.json.encode(chunk)) if choices else b""

    def _fill(self, chunk: dict[str, Any]) -> None:
        self._id = self._id or chunk.get("id") or "chatcmpl-gemini"
        self._head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": chunk.get("created") or self._created,
            "model": chunk.get("model") or "",
        }
        chunk |= self._head

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = choice["index"] = 0
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
        if index in self._begun:
            delta.pop("role", None)
        self._begun.add(index)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                if isinstance(call, dict):
                    self._number(index, call)
        if choice.get("finish_reason") == "stop" and self._calls.get(index):
            choice["finish_reason"] = "tool_calls"

    def _number(self, choice: int, call: dict[str, Any]) -> None:
        """A call with a name is a new one, for they come whole; one without goes on with the last."""
        count = self._calls.get(choice, 0)
        function = call.get("function")
        if count == 0 or (isinstance(function, dict) and function.get("name")):
            name_call(call, count)
            count += 1
        self._calls[choice] = count
        call["index"] = count - 1

    def _last(self) -> bytes:
        """The count, which comes last; whoever did not ask for it does not get to see it."""
        if not isinstance(self._usage, dict):
            return b""
        return event(msgspec.json.encode(self._head | {"choices": [], "usage": self._usage}))
