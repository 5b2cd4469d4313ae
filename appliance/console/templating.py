"""Templates to HTML: everything that they are given is escaped, and a name that is not there is a mistake."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from appliance.console import figures
from appliance.console.sparkline import sparkline

_FOLDER = files("appliance") / "console"


def read(folder: str, name: str) -> str:
    """The text of a file of this room."""
    return (_FOLDER / folder / name).read_text("utf-8")


def environment() -> Environment:
    """What renders; templates are compiled when they are first used."""
    made = Environment(
        loader=FunctionLoader(lambda name: read("templates", name)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(size=figures.size, span=figures.span, rate=figures.rate, count=figures.count)
    made.globals.update(sparkline=sparkline)
    return made
