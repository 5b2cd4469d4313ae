"""A document as HTML, by markdown-it. Markup in a document is shown as text: documents are words and tables."""

import html
import re
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

_NO_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One document.

    Attributes:
        title: its first heading.
        about: its first paragraph, as text.
        html: all of it.
    """

    title: str
    about: str
    html: str


def render(text: str) -> Rendered:
    """A document; its headings can be linked to, and links between documents lead to their pages."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = about = ""
    taken: set[str] = set()
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            words = _words(inside)
            title = title or words
            token.attrSet("id", _anchor(words, taken))
        if token.type == "paragraph_open" and not about:
            about = _words(inside)
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", page_of(str(child.attrGet("href") or "")))
    return Rendered(title, about, parser.renderer.render(tokens, parser.options, {}))


def page_of(href: str) -> str:
    """Where a link of a document leads on the server."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or "/" in parts.path or not parts.path.endswith(".md"):
        return href
    return f"/docs/{parts.path.removesuffix('.md')}" + (f"#{parts.fragment}" if parts.fragment else "")


def escaped(text: str) -> str:
    """Text for HTML, attributes included."""
    return html.escape(text, quote=True)


def _words(inline: Token) -> str:
    parts = [" " if child.type in {"softbreak", "hardbreak"} else child.content for child in inline.children or ()]
    return "".join(parts)


def _anchor(words: str, taken: set[str]) -> str:
    stem = _NO_LETTER.sub("-", words.lower()).strip("-") or "section"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name
