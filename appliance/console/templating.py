"""Templates to HTML: everything that they are given is escaped, and a name that is not there is a mistake."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from appliance.console import figures
from appliance.console.sparkline import sparkline

_FOLDER = files("appliance") / "console"


def read(folder: str, name: str) -> str:
    """The text of a file of this room."""
    return (_FOLDER / folder / name).read_text("utf-8")


def _templates(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{below}{entry.name}/")
        else:
            yield f"{below}{entry.name}", entry.read_text("utf-8")


def marked(text: str) -> Markup:
    """A text whose `commands` and `names` look like such; everything in it is escaped."""
    pieces = str(text).split("`")
    if len(pieces) % 2 == 0:  # one that is not closed
        return escape(text)
    told = [Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces)]
    return Markup("").join(told)


def environment() -> Environment:
    """What renders; templates are read now, since an upgrade may replace our files while we still serve.

    They are compiled when they are first used.
    """
    made = Environment(
        loader=DictLoader(dict(_templates(_FOLDER / "templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        size=figures.size, span=figures.span, rate=figures.rate, count=figures.count, sentence=figures.sentence
    )
    made.filters["marked"] = marked
    made.globals.update(sparkline=sparkline)
    return made
