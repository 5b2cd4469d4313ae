"""What a model's owner changes in every request for it, before an engine gets it.

Prepared once, from the configuration. In this order: fields are taken out, absent ones filled in, others replaced, and
then the roles are made such as the model's template takes them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec

from appliance.domain.calls import Call, Foreign, Operation
from appliance.wire.members import MEMBERS, absent

System = Literal["keep", "first", "user"]
Developer = Literal["keep", "system", "user"]
Fields = dict[str, msgspec.Raw]
Message = dict[str, Any]

# These only count or spell tokens.
_LEFT_ALONE = {Operation.TOKENIZE, Operation.DETOKENIZE, Operation.RESPONSE_TOKENS, Operation.MODERATION}
_SAME = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_IN_MESSAGES = {"max_completion_tokens": "max_tokens", "stop": "stop_sequences"}
_IN_RESPONSES = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
_NAMES = {Operation.RESPONSES: _IN_RESPONSES, Operation.MESSAGES: _IN_MESSAGES}
_MESSAGES = msgspec.json.Decoder(list[Message])


class Overrides:
    """The changes for one model.

    Args:
        defaults: fields for requests that have none, or null.
        forced: fields that replace what a request has.
        stripped: fields that are taken out.
        system: where system messages of a conversation go: nowhere, into one at the front, or into the first turn of
            the user, for templates that know no such role.
        developer: the role that stands for `developer`.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any],
        forced: Mapping[str, Any],
        stripped: Iterable[str],
        system: System = "keep",
        developer: Developer = "keep",
    ) -> None:
        self._defaults = _encoded(defaults)
        self._forced = _encoded(forced)
        self._stripped = frozenset(stripped)
        self._system = system
        self._developer = developer

    def applied(self, call: Call) -> Call:
        """The same call as the model's owner wants it. Its body has been checked already."""
        if call.content_type or call.operation in _LEFT_ALONE:
            return call
        if call.foreign is not None:
            return replace(call, foreign=_Overridden(call.foreign, self))
        return replace(call, body=self.body(call.body, call.operation))

    def body(self, body: bytes, operation: Operation, assumed: frozenset[str] = frozenset()) -> bytes:
        """The body as it shall be.

        Args:
            body: a JSON object.
            operation: what it asks for.
            assumed: fields that are in it because we put them there, and not the client.
        """
        fields = MEMBERS.decode(body)
        names = _NAMES.get(operation, {})
        for name in self._stripped:
            fields.pop(names.get(name, name), None)
        for given, value in self._defaults.items():
            name = names.get(given, given)
            if name in assumed or not (_has(fields, name) or _has(fields, _SAME.get(name, name))):
                fields[name] = value
        for name, value in self._forced.items():
            fields[names.get(name, name)] = value
        if "messages" in fields and (self._system != "keep" or self._developer != "keep"):
            fields["messages"] = self._with_roles(fields["messages"])
        return msgspec.json.encode(fields)

    def _with_roles(self, raw: msgspec.Raw) -> msgspec.Raw:
        messages = _MESSAGES.decode(raw)
        if self._developer != "keep":
            messages = [
                message | {"role": self._developer} if message["role"] == "developer" else message
                for message in messages
            ]
        if self._system != "keep":
            messages = _moved(messages, self._system)
        return msgspec.Raw(msgspec.json.encode(messages))


class _Overridden:
    """A request in another dialect, for a model with overrides."""

    def __init__(self, foreign: Foreign, overrides: Overrides) -> None:
        self._foreign = foreign
        self._overrides = overrides
        self.assumed = foreign.assumed
        self.problem = foreign.problem

    def chat_body(self, engine: str, model: str) -> bytes:
        body = self._foreign.chat_body(engine, model)
        return self._overrides.body(body, Operation.CHAT, self.assumed)

    def as_amended(self, body: bytes) -> bytes:
        return self._overrides.body(body, Operation.MESSAGES, self.assumed)


def _encoded(fields: Mapping[str, Any]) -> Fields:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}


def _has(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    return value is not None and not absent(value)


def _moved(messages: list[Message], system: System) -> list[Message]:
    """The conversation with its system messages gathered at the front, in the role they shall have there."""
    said = [message["content"] for message in messages if message["role"] == "system" and message.get("content")]
    rest = [message for message in messages if message["role"] != "system"]
    if not said:
        return rest
    content = said[0]
    for more in said[1:]:
        content = _joined(content, more)
    if system == "first":
        return [{"role": "system", "content": content}, *rest]
    for number, message in enumerate(rest):
        if message["role"] == "user":
            folded = message | {"content": _joined(content, message.get("content") or "")}
            return [*rest[:number], folded, *rest[number + 1 :]]
    return [{"role": "user", "content": content}, *rest]


def _joined(first: Any, second: Any) -> Any:
    """Two contents as one: text stays text, anything else becomes parts."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}" if second else first
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)
