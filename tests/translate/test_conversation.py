import json
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.translate.conversation import Block, Turn, chat_messages, first_pdf, remote_images

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


def chat(*turns: dict[str, Any], system: Any = None) -> list[dict[str, Any]]:
    blocks = msgspec.convert(system, str | list[Block] | None)
    return chat_messages(blocks, msgspec.json.decode(json.dumps(turns, ensure_ascii=False), type=list[Turn]))


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        ([text("Be brief."), text("Be kind.")], "Be brief.\n\nBe kind."),
        ([text("x-anthropic-billing-header: cc_version=1"), text("Be kind.")], "Be kind."),
    ],
)
def test_the_system_prompt_comes_first(system: Any, expected: str) -> None:
    hello = {"role": "user", "content": "Hello!"}
    assert chat(hello, system=system) == [{"role": "system", "content": expected}, hello]


@pytest.mark.parametrize("system", [None, "", [], [text("")]])
def test_no_system_prompt_is_no_message(system: Any) -> None:
    assert chat(user(text("x")), system=system) == [{"role": "user", "content": "x"}]


def test_a_system_turn_in_the_middle_becomes_the_users_and_neighbours_become_one() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "system", "content": [text("d")]},
        {"role": "user", "content": [text("e"), PNG]},
    ]
    assert chat(*turns) == [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": [text("d"), text("e"), SHOWN]},
    ]


def test_neighbouring_turns_of_the_assistant_become_one() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    one = {"role": "assistant", "content": "a"}
    two = {"role": "assistant", "content": [text("b"), call]}
    (message,) = chat(one, two)
    assert message["content"] == "ab"
    assert message["tool_calls"][0]["id"] == "c"


def test_images_by_data_and_by_address() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    (message,) = chat(user(text("What?"), PNG, by_url))
    shown = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    assert message["content"] == [text("What?"), SHOWN, shown]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "file", "file_id": "f"},
        {"type": "url", "url": "file:///etc/passwd"},
        {"type": "base64", "media_type": "text/html", "data": "x"},
        {"type": "base64", "media_type": "image/png"},
        "x",
        None,
    ],
)
def test_an_image_from_elsewhere_is_refused(source: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        chat(user({"type": "image", "source": source}))
    assert (caught.value.code, caught.value.param) == ("invalid_payload", "messages[0].content[0].source")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "body"}, "Title\nbody"),
        ({"type": "content", "content": [text("a"), text("b")]}, "Title\na\nb"),
        ({"type": "content", "content": "a"}, "Title\na"),
    ],
)
def test_documents_of_text(source: Any, expected: str) -> None:
    (message,) = chat(user({"type": "document", "title": "Title", "source": source}))
    assert message["content"] == expected


PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}


def test_a_pdf_is_a_file_for_those_who_read_such() -> None:
    (message,) = chat(user(text("Read."), PDF | {"title": "a.pdf"}))
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}
    assert message["content"] == [{"type": "text", "text": "Read."}, {"type": "file", "file": file}]


@pytest.mark.parametrize("source", [{"type": "url", "url": "https://x/a.pdf"}, {"type": "file"}, None])
def test_documents_that_nobody_here_can_fetch_are_refused_and_told_why(source: Any) -> None:
    with pytest.raises(GatewayError, match="send the text"):
        chat(user({"type": "document", "source": source}))


def test_what_lies_elsewhere_is_told_by_its_place_in_the_request() -> None:
    remote = {"type": "image", "source": {"type": "url", "url": "http://x/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("see"), remote, PDF]}
    turns = msgspec.convert([{"role": "user", "content": "Hi"}, user(PNG, remote), user(result)], list[Turn])
    assert remote_images(turns) == {
        "messages[1].content[1].source.url": b'"http://x/a.png"',
        "messages[2].content[0].content[1].source.url": b'"http://x/a.png"',
    }
    assert first_pdf(turns) == "messages[2].content[0].content[2].source"
    assert first_pdf(turns[:2]) is None


def test_a_search_result_is_text() -> None:
    block = {"type": "search_result", "source": "https://x", "title": "T", "content": [text("a")]}
    assert chat(user(block)) == [{"role": "user", "content": "T\nhttps://x\na"}]


def test_a_round_of_parallel_calls() -> None:
    calls = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"x": [1, "é"]}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": None},
    ]
    results = [
        text("Here."),
        {"type": "tool_result", "tool_use_id": "c0", "content": [text("a"), PNG, text("b")]},
        {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c2"},
    ]
    assert chat({"role": "assistant", "content": calls}, user(*results)) == [
        {
            "role": "assistant",
            "content": None,
            "thinking": "Hm",
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"x": [1, "é"]}'}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c0", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "c1", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": [SHOWN, text("Here.")]},
    ]


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        (user({"type": "server_tool_use"}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0]"),
        ({"role": "assistant", "content": [PNG]}, "messages[0].content[0].type"),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": 1}]},
            "messages[0].content[0].input",
        ),
        ({"role": "assistant", "content": [{"type": "tool_use", "name": "f"}]}, "messages[0].content[0].id"),
        (user({"type": "tool_result", "content": "x"}), "messages[0].content[0].tool_use_id"),
        (
            user({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "container_upload"}]}),
            "messages[0].content[0].content[0].type",
        ),
    ],
)
def test_what_cannot_be_put_to_an_engine_is_named(turn: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        chat(turn)
    assert (caught.value.code, caught.value.param) == ("invalid_payload", param)


def test_an_empty_turn_stays_a_turn() -> None:
    assert chat(user(), {"role": "assistant", "content": []}) == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]
