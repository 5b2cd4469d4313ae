import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.http1.request import HeadTemplate, render_head


def test_a_head_is_the_request_line_the_host_the_headers_and_the_length() -> None:
    head = render_head("POST", "/v1/x?y=1", "box:8000", [("a", "b"), ("a", "c")], 12)
    assert head == b"POST /v1/x?y=1 HTTP/1.1\r\nhost: box:8000\r\na: b\r\na: c\r\ncontent-length: 12\r\n\r\n"


def test_a_get_without_a_body_has_no_length_and_a_post_always_has_one() -> None:
    assert b"content-length" not in render_head("GET", "/", "h", [], 0)
    assert b"content-length: 0\r\n" in render_head("POST", "/", "h", [], 0)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "a\r\nb"])
def test_a_line_break_or_nul_in_any_part_is_refused(bad: str) -> None:
    for parts in (
        (f"GET{bad}", "/", "h", []),
        ("GET", f"/{bad}", "h", []),
        ("GET", "/", f"h{bad}", []),
        ("GET", "/", "h", [(f"a{bad}", "b")]),
        ("GET", "/", "h", [("a", f"b{bad}")]),
    ):
        with pytest.raises(ValueError):
            render_head(*parts, 0)


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(ValueError) as caught:
        render_head("GET", "/", "h", [("authorization", "Bearer sk-1\n")], 0)
    assert "sk-1" not in str(caught.value)


def test_a_value_outside_latin_1_is_refused() -> None:
    with pytest.raises(ValueError):
        render_head("GET", "/", "h", [("a", "€")], 0)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_adds_a_line(path: str, host: str, name: str, value: str) -> None:
    try:
        head = render_head("GET", path, host, [(name, value)], 0)
    except ValueError:
        return
    assert head.count(b"\r") == head.count(b"\n") == 4


def test_a_template_renders_what_varies_right_after_the_host() -> None:
    template = HeadTemplate("POST", "/x", "box", [("a", "b")], "id")
    assert template.render("1", 3) == b"POST /x HTTP/1.1\r\nhost: box\r\nid: 1\r\na: b\r\ncontent-length: 3\r\n\r\n"
    assert template.render("2", 0) == b"POST /x HTTP/1.1\r\nhost: box\r\nid: 2\r\na: b\r\ncontent-length: 0\r\n\r\n"


@given(st.text(), st.sampled_from(["GET", "POST"]))
def test_no_varying_value_adds_a_line(value: str, method: str) -> None:
    try:
        head = HeadTemplate(method, "/", "h", [("a", "b")], "id").render(value, 1)
    except ValueError:
        return
    assert head.count(b"\r") == head.count(b"\n") == 6


@pytest.mark.parametrize("varying", ["a b", "a\r\n", "ü"])
def test_the_name_of_what_varies_is_checked_too(varying: str) -> None:
    with pytest.raises(ValueError):
        HeadTemplate("GET", "/", "h", [], varying)


def test_a_refused_varying_value_is_not_shown() -> None:
    with pytest.raises(ValueError) as caught:
        HeadTemplate("GET", "/", "h", [], "id").render("secret\n", 0)
    assert "secret" not in str(caught.value)
