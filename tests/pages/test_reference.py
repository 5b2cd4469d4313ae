from html.parser import HTMLParser
from pathlib import Path

from appliance.pages.openapi import openapi
from appliance.pages.reference import reference
from tests.pages.test_described import table_of

VOID = {"br"}


class Balance(HTMLParser):
    """Every tag that is opened is closed, in order; ids are unique."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_every_route_is_on_the_page_with_its_fields_and_errors(tmp_path: Path) -> None:
    document = openapi(await table_of(tmp_path), "0.1.0")
    html = reference(document)
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in html
    assert "<td>temperature</td><td>number, ≥ 0, ≤ 2</td>" in html
    assert "<td>messages</td><td>array of object, ≥" not in html
    assert "<code>model_not_found</code>" in html
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    assert len(set(balance.ids)) == len(balance.ids)
