"""The page around a text, and the one stylesheet. Light or dark is the reader's own setting; nothing runs a script."""

from collections.abc import Sequence

from appliance.pages.markdown import escaped

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c2024; --faint: #5f6873; --line: #d9dee3; --code: #f3f5f7; --link: #0b5cad;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #dfe4e8; --faint: #98a2ac; --line: #30363c; --code: #1e2327; --link: #7ab7f5; }
}
* { box-sizing: border-box; }
body {
  margin: 0; display: grid; grid-template-columns: 14rem minmax(0, 54rem); gap: 0 2.5rem; padding: 1.5rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif;
}
nav { position: sticky; top: 1.5rem; align-self: start; font-size: .925rem; }
nav ul { list-style: none; margin: .75rem 0; padding: 0; }
nav li { margin: .3rem 0; }
nav [aria-current] { color: var(--ink); font-weight: 600; text-decoration: none; }
a { color: var(--link); text-underline-offset: .15em; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
h2:target, h3:target { background: var(--code); }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
code { background: var(--code); padding: .1em .3em; border-radius: .25em; overflow-wrap: anywhere; }
pre { background: var(--code); padding: .8rem 1rem; overflow-x: auto; border-radius: .4rem; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; font-size: .925rem; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; }
dt { font-weight: 600; margin-top: .9rem; }
dd { margin: 0; color: var(--faint); }
summary { cursor: pointer; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; }
@media (max-width: 52rem) {
  body { display: block; padding: 1rem; }
  nav { position: static; margin-bottom: 1.5rem; }
  nav ul { display: flex; flex-wrap: wrap; gap: .2rem .9rem; }
  table { display: block; overflow-x: auto; }
}
@media print { nav { display: none; } body { display: block; } }
"""


def page(title: str, body: str, places: Sequence[tuple[str, str]], here: str) -> bytes:
    """A whole page.

    Args:
        title: of the page, as text.
        body: HTML.
        places: address and name of every page.
        here: the address of this one.
    """
    rows = "".join(
        f'<li><a href="{escaped(address)}"{_current(address == here)}>{escaped(name)}</a></li>'
        for address, name in places
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)} · Appliance</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<nav aria-label="Documents"><a class="skip" href="#text">To the text</a><a href="/docs"{_current(here == "/docs")}>\
Documents</a> · <a href="/">Console</a><ul>{rows}</ul></nav>
<main id="text">
{body}
</main>
</body>
</html>
""".encode()


def _current(here: bool) -> str:  # noqa: FBT001 - it is what the attribute says
    return ' aria-current="page"' if here else ""
