"""What an engine gets: the client's own bytes but for the members that are ours."""

import msgspec

from appliance.domain.calls import Call, Grammar
from appliance.wire.form import with_model
from appliance.wire.members import MEMBERS, absent

_ASKS_FOR_USAGE = b',"stream_options":{"include_usage":true}}'


def outgoing_body(call: Call, model: str) -> bytes:
    """The body for an engine.

    `request_id` is taken out (an engine may use it as its own id), `model` becomes the engine's name for it unless that
    is empty, and a stream of chunks is asked for its usage.

    Args:
        call: as parsed; its body is a JSON object or a form.
        model: the name that the engine knows the model by; empty leaves the client's.
    """
    renamed = bool(model) and model != call.model
    if call.content_type:
        return with_model(call.body, call.content_type, model) if renamed else call.body
    counted = call.stream and call.operation.grammar is Grammar.CHUNKS
    if call.appendable and not renamed:
        if not counted:
            return call.body
        end = call.body.rindex(b"}")  # a call has at least its model before it
        return b"".join((memoryview(call.body)[:end], _ASKS_FOR_USAGE))
    members = MEMBERS.decode(call.body)
    changed = members.pop("request_id", None) is not None
    if renamed:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
        changed = True
    if counted and not call.wants_usage:
        members["stream_options"] = _with_usage(members.get("stream_options"))
        changed = True
    return msgspec.json.encode(members) if changed else call.body


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    members = {} if options is None or absent(options) else MEMBERS.decode(options)
    members["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(members))
