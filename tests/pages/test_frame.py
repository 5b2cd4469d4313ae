from appliance.pages.frame import STYLE, page


def test_a_page_says_where_it_is_and_escapes_what_it_is_given() -> None:
    html = page("<T>", "<p>body</p>", [("/docs/a", "A & B"), ("/docs/c", "C")], "/docs/a").decode()
    assert "<title>&lt;T&gt; · Appliance</title>" in html
    assert '<a href="/docs/a" aria-current="page">A &amp; B</a>' in html
    assert '<a href="/docs/c">C</a>' in html
    assert "<p>body</p>" in html
    assert '<a href="/">Console</a>' in html


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs() -> None:
    html = page("T", "", [], "/docs").decode()
    assert "http" not in html + STYLE
    assert "<script" not in html
    assert "style=" not in html
    assert "url(" not in STYLE


def test_dark_is_the_readers_choice() -> None:
    assert "prefers-color-scheme: dark" in STYLE
