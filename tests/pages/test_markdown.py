import pytest

from appliance.pages.markdown import escaped, page_of, render

TEXT = """# A *title* & more

The first
paragraph with `code`.

## Same

| a | b |
| --- | --- |
| <b>x</b> | [errors](errors.md#codes) |

## Same

<script>alert(1)</script> [out](https://example.com/a.md) [js](javascript:alert)
"""


def test_title_and_first_paragraph_are_text() -> None:
    found = render(TEXT)
    assert (found.title, found.about) == ("A title & more", "The first paragraph with code.")


def test_headings_can_be_linked_to_and_no_two_alike() -> None:
    html = render(TEXT).html
    assert '<h1 id="a-title-more">' in html
    assert '<h2 id="same">' in html
    assert '<h2 id="same-2">' in html


def test_markup_is_shown_as_text_and_no_link_runs_anything() -> None:
    html = render(TEXT).html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<td>&lt;b&gt;x&lt;/b&gt;</td>" in html
    assert 'href="javascript' not in html


def test_links_between_documents_lead_to_their_pages() -> None:
    html = render(TEXT).html
    assert 'href="/docs/errors#codes"' in html
    assert 'href="https://example.com/a.md"' in html


@pytest.mark.parametrize(
    ("href", "page"),
    [
        ("a.md", "/docs/a"),
        ("#x", "#x"),
        ("../a.md", "../a.md"),
        ("http://x/a.md", "http://x/a.md"),
        ("a.html", "a.html"),
    ],
)
def test_only_documents_are_pages(href: str, page: str) -> None:
    assert page_of(href) == page


def test_a_text_without_anything_has_no_title() -> None:
    assert render("").title == ""
    assert escaped('<a href="x">') == "&lt;a href=&quot;x&quot;&gt;"
