"""Why an answer ended, in the words of Messages."""

# "repetition" (vLLM) and what is not known yet end a turn as well as any other reason.
_REASONS = {"length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use", "function_call": "tool_use"}
BROKEN = frozenset({"abort", "error"})  # the engine gave up: that is no answer


def stop_of(finish: str | None, matched: object, *, calls: bool, refused: bool = False) -> tuple[str, str | None]:
    """`stop_reason` and `stop_sequence`.

    Args:
        finish: `finish_reason` of the chat answer.
        matched: vLLM's own `stop_reason`: the stop string that was met, the number of a token, or nothing.
        calls: the answer calls a tool; some engines say "stop" then.
        refused: the answer is a refusal.
    """
    reason = _REASONS.get(finish or "", "end_turn")
    if reason in {"max_tokens", "refusal"}:
        return reason, None
    if refused:
        return "refusal", None
    if calls:
        return "tool_use", None
    if finish == "stop" and isinstance(matched, str) and matched:
        return "stop_sequence", matched
    return ("end_turn" if reason == "tool_use" else reason), None
