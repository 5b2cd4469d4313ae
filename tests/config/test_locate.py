import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.locate import ConfigPath, dotted, locate

TEXT = '''\
# a comment with [brackets] and "quotes
top = 1
[server]
listen = "a # b"   # not a key = 1
  "odd key".inner = 2

[[runtimes]]
name = """
[not.a.table]
name = "no" """""
args = [
    "one", # first, with a comma
    'two]',
    ["three", { deep = 1 }],
]
[runtimes.limits]
a = 1
[[ runtimes ]]
name = \'\'\'it\'s [fine]\'\'\'
when = 2026-11-22T10:00:00Z
inline = { x = 1, "y z" = { q = [1, 2] } }

[a.b]
c = 1
[a]
d = "\\"]\\n"
'''

PLACES: list[tuple[ConfigPath, tuple[int, int]]] = [
    (("top",), (2, 1)),
    (("server",), (3, 2)),
    (("server", "listen"), (4, 1)),
    (("server", "odd key"), (5, 3)),
    (("server", "odd key", "inner"), (5, 13)),
    (("runtimes",), (7, 3)),
    (("runtimes", 0), (7, 3)),
    (("runtimes", 0, "name"), (8, 1)),
    (("runtimes", 0, "args"), (11, 1)),
    (("runtimes", 0, "args", 0), (12, 5)),
    (("runtimes", 0, "args", 1), (13, 5)),
    (("runtimes", 0, "args", 2, 0), (14, 6)),
    (("runtimes", 0, "args", 2, 1, "deep"), (14, 17)),
    (("runtimes", 0, "limits"), (16, 11)),
    (("runtimes", 0, "limits", "a"), (17, 1)),
    (("runtimes", 1), (18, 4)),
    (("runtimes", 1, "name"), (19, 1)),
    (("runtimes", 1, "when"), (20, 1)),
    (("runtimes", 1, "inline", "x"), (21, 12)),
    (("runtimes", 1, "inline", "y z", "q", 1), (21, 37)),
    (("a", "b", "c"), (24, 1)),
    (("a",), (25, 2)),
    (("a", "d"), (26, 1)),
]


@pytest.mark.parametrize(("path", "place"), PLACES, ids=[dotted(path) for path, _ in PLACES])
def test_a_setting_is_found_where_it_stands(path: ConfigPath, place: tuple[int, int]) -> None:
    tomllib.loads(TEXT)  # the example itself is good TOML
    assert locate(TEXT).at(path) == place


def test_a_setting_that_is_not_there_is_at_its_nearest_parent() -> None:
    positions = locate("\n[server]\nlisten = 1\n")
    assert positions.at(("server", "drain")) == (2, 2)
    assert positions.at(("server", "listen", "x", 3)) == (3, 1)
    assert positions.at(("models", 0, "name")) == (1, 1)
    assert positions.at(()) == (1, 1)


def test_windows_line_ends_make_no_difference() -> None:
    windows, unix = locate(TEXT.replace("\n", "\r\n")), locate(TEXT)
    assert all(windows.at(path) == unix.at(path) for path, _ in PLACES)


def test_a_quoted_key_is_the_key_that_it_spells() -> None:
    assert locate('\n"na\\u006de" = 1').at(("name",)) == (2, 1)


def test_a_path_is_written_as_people_write_it() -> None:
    assert dotted(("runtimes", 0, "odd key", "x")) == 'runtimes[0]."odd key".x'
    assert dotted(()) == ""


PIECES = ["a", "b.c", '"q"', "=", "[", "]", "[[", "]]", "{", "}", ",", "\n", " ", "#", '"', '"""', "'", "1", "true"]


def paths(value: object, path: ConfigPath = ()) -> list[ConfigPath]:
    if isinstance(value, dict):
        return [step for key, item in value.items() for step in [(*path, key), *paths(item, (*path, key))]]
    if isinstance(value, list):
        return [step for index, item in enumerate(value) for step in [(*path, index), *paths(item, (*path, index))]]
    return []


LINES = st.lists(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
        st.builds(
            "{} = {}".format,
            st.sampled_from(["a", "b.c", '"q.r"', "d"]),
            st.recursive(
                st.sampled_from(["1", "'s]'", '"x\\"}"', '"""m\n]"""', "'''n''''", "1979-05-27", "true"]),
                lambda inner: (
                    st.lists(inner, max_size=3).map(lambda row: "[ " + ", # c\n".join(row) + " ]")
                    | inner.map(lambda item: f"{{ k = {item}, l.m = {item} }}")
                ),
                max_leaves=4,
            ),
        ),
        st.sampled_from(["[t]", "[[u]]", "[u.v]", "[t.'w x']", "# [no]"]),
    ),
    max_size=8,
)


@given(LINES)
def test_whatever_the_parser_accepts_every_path_in_it_is_found(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        raw = tomllib.loads(text)
    except ValueError:
        return
    found = locate(text).found
    assert set(paths(raw)) == set(found)
