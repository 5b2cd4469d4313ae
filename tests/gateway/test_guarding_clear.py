"""The one look that clears nearly every request and answer, held against the close look that it saves."""

import json
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from appliance.config.schema import Guardrail
from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.gateway.accounting import Accounts, Exchange
from appliance.gateway.guarding import Guarding
from appliance.guardrails.rules import Guards, guards
from appliance.observe.metrics import Metrics
from tests.fakes.accounts import text_of
from tests.fakes.spelling import spelt

PATTERNS = (
    r"\bab\b",
    r"^ba{1,3}$",
    r"(?m)^c[ab]$",
    r"\Aaab",
    r"aac$",
    r"\Bcc\b",
    r"[0-9]{3}",
    r"é🎉?\n",
    r"(?i)A@B",
)
PII = Guardrail(name="pii", kind="pii", on=("input", "output"), action="redact")
REGEX = Guardrail(name="shapes", kind="regex", patterns=PATTERNS, on=("input", "output"), action="redact")
WORDS = Guardrail(name="words", kind="keywords", words=("b c", "aca"), on=("input", "output"), action="flag")
ALL = {guard.name: guard for guard in (PII, REGEX, WORDS)}
FRAGMENTS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "ab",
        "aca",
        "cc",
        "12",
        "3",
        " ",
        "\n",
        '"',
        "\\",
        "/",
        "@",
        "é",
        "🎉",
        "{",
        "}",
        ":",
        ",",
        "u0061",
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=7).map("".join)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2)
INNER = st.recursive(TEXTS | st.integers(0, 2000), lambda one: st.dictionaries(TEXTS, one, max_size=2), max_leaves=3)
ARGUMENTS = TEXTS | INNER.map(json.dumps)
CALLS = st.lists(st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": TEXTS, "arguments": ARGUMENTS})}))
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"]), "content": TEXTS | PARTS}, optional={"tool_calls": CALLS}
    ),
    min_size=1,
    max_size=2,
)
REQUESTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": MESSAGES},
    optional={"metadata": INNER, "custom": INNER, "tools": st.just([{"function": {"parameters": {"ab": {}}}}])},
)
ANSWERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "message": st.fixed_dictionaries(
                        {"role": st.just("assistant"), "content": TEXTS},
                        optional={
                            "tool_calls": CALLS,
                            "reasoning": TEXTS,
                            "reasoning_content": TEXTS,
                            "refusal": TEXTS,
                        },
                    )
                },
                optional={"text": TEXTS},
            ),
            max_size=2,
        )
    },
    optional={"id": TEXTS, "usage": st.just({"prompt_tokens": 123})},
)


class Desk:
    """Guarding with all that it needs, and an exchange."""

    def __init__(self, own: Guards | None = None) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.accounts = Accounts(self.metrics, lambda: 1.0, lambda: 7.0, lambda: "0" * 32, lambda _: None)
        self.guarding = Guarding(self.metrics, cast("Any", None))
        found = own or guards(list(ALL), ALL)
        assert found is not None
        self.guards = found

    def exchange(self) -> Exchange:
        return self.accounts.open(Operation.CHAT, "127.0.0.1", None)

    def clear(self, call: Call) -> bool:
        return self.guarding.clear(call, self.guards)

    def clear_answer(self, body: bytes, call: Call) -> bool:
        return self.guarding.clear_answer(body, call, self.guards) is not None


DESK = Desk()


def closely(work: Any) -> Any:
    """What a coroutine that has nothing to wait for gives."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


@given(request=REQUESTS, data=st.data())
def test_nothing_is_found_in_a_request_that_was_cleared(request: dict[str, Any], data: st.DataObject) -> None:
    call = Call(Operation.CHAT, "m", spelt(request, data))
    if not DESK.clear(call):
        return
    exchange = DESK.exchange()
    seen = closely(DESK.guarding.checked(call, DESK.guards, exchange))
    assert exchange.findings is None
    assert json.loads(seen.body) == json.loads(call.body)


@given(answer=ANSWERS, data=st.data(), wants_json=st.booleans())
@example(answer={"choices": [{"message": {"content": '{"a":"a\\u0062"}'}}]}, data=None, wants_json=True)
def test_nothing_is_found_in_an_answer_that_was_cleared(
    answer: dict[str, Any], data: st.DataObject | None, wants_json: bool
) -> None:
    body = spelt(answer, data) if data is not None else json.dumps(answer).encode()
    call = Call(Operation.CHAT, "m", b'{"response_format":{"type":"json_object"}}' if wants_json else b"{}")
    if not DESK.clear_answer(body, call):
        return
    exchange = DESK.exchange()
    seen = closely(DESK.guarding.whole(body, call, DESK.guards, exchange))
    assert exchange.findings is None
    assert json.loads(seen) == json.loads(body)


ORDINARY = [
    '{"model":"m","messages":[{"role":"user","content":"How deep is the harbour at 12:30?"}],"max_tokens":25}',
    '{"model":"m","messages":[{"role":"user","content":"say \\"hi\\"\\n\\u00fcber\\\\alles"}]}',
    '{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"grün"}]}],"temperature":0.5}',
]


@pytest.mark.parametrize("body", ORDINARY)
def test_an_ordinary_request_is_cleared_and_counted_as_a_close_look_would(body: str) -> None:
    quick, close = Desk(), Desk()
    call = Call(Operation.CHAT, "m", body.encode())
    assert quick.clear(call)
    closely(close.guarding.checked(call, close.guards, close.exchange()))
    assert counted(quick) == counted(close)


def test_an_ordinary_answer_is_cleared_and_counted_as_a_close_look_would() -> None:
    quick, close = Desk(), Desk()
    call = Call(Operation.CHAT, "m", b"{}")
    body = b'{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"At 12:30.\\n"}}]}'
    assert quick.clear_answer(body, call)
    closely(close.guarding.whole(body, call, close.guards, close.exchange()))
    assert counted(quick) == counted(close)


def test_backslashes_are_looked_at_closely_only_where_a_text_may_be_json() -> None:
    plain, wanted = (Call(Operation.CHAT, "m", body) for body in (b"{}", b'{"response_format":{"type":"json_schema"}}'))
    said = json.dumps({"choices": [{"message": {"content": 'so "\\frac{1}{2}"\n'}}]}).encode()
    assert Desk().clear_answer(said, plain)
    assert not Desk().clear_answer(said, wanted)
    function = {"function": {"name": "f", "arguments": '{"path":"C:\\\\x"}'}}
    called = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [function]}}]}).encode()
    assert not Desk().clear_answer(called, plain)
    assert Desk().clear_answer(called.replace(b"\\\\", b""), plain)


def counted(desk: Desk) -> list[str]:
    """All that is told of guardrails but how long a close look took."""
    told = [line for line in text_of(desk.metrics).splitlines() if "guardrail" in line]
    return [line for line in told if "appliance_guardrail_seconds" not in line]


def test_whom_a_model_has_to_be_asked_about_is_never_cleared() -> None:
    judge = Guardrail(name="judge", kind="model", model="g", on=("input", "output"))
    desk = Desk(guards(["judge"], {"judge": judge}))
    call = Call(Operation.CHAT, "m", ORDINARY[0].encode())
    assert not desk.clear(call)
    assert not desk.clear_answer(b'{"choices":[]}', call)


def test_what_may_be_too_long_is_measured() -> None:
    desk = Desk(guards(["long"], {"long": Guardrail(name="long", kind="max_input", max_chars=100)}))
    body = '{"model":"m","messages":[{"role":"user","content":"%s"}]}'
    assert desk.clear(Call(Operation.CHAT, "m", (body % "abc").encode()))
    long = Call(Operation.CHAT, "m", (body % ("a" * 101)).encode())
    assert not desk.clear(long)
    with pytest.raises(GatewayError, match="guardrail"):
        closely(desk.guarding.checked(long, desk.guards, desk.exchange()))


def test_who_only_looks_at_answers_asks_nothing_of_a_request() -> None:
    watch = Guardrail(name="pii", kind="pii", on=("output",))
    desk = Desk(guards(["pii"], {"pii": watch}))
    assert desk.clear(Call(Operation.COMPLETION, "m", b'{"model":"m","prompt":[1,2,3]}'))
    assert counted(desk) == counted(Desk(desk.guards))


def test_a_large_body_is_left_to_the_close_look_which_lets_others_have_their_turns() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x " * 20_000}]}).encode()
    assert not DESK.clear(Call(Operation.CHAT, "m", body))
    answer = json.dumps({"choices": [{"message": {"content": "x " * 20_000}}]}).encode()
    assert not DESK.clear_answer(answer, Call(Operation.CHAT, "m", b"{}"))
