import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.edit import add_model, change_model, models_of, remove_model
from appliance.config.load import parse
from appliance.errors import OperatorError

FILE = """\
# Ours.
[server]
listen = "127.0.0.1:8000"  # this machine alone

[[runtimes]]
name = "q"
engine = "vllm"
model = "/m"

# The smart one.
[[models]]
name = "smart"    # what people ask for
targets = [
    "q",  # first
    "box/llama",
]
limits = { concurrent = 2 }  # together
# balance = "prefix"

# The other one.
[[models]]
name = "other"
targets = ["q"]
[models.defaults]
temperature = 0.2  # calm

# What may be said.
[[guardrails]]
name = "pii"
kind = "pii"
"""


def difference(before: str, after: str) -> list[str]:
    """The lines that went (-) and came (+); the rest is the same, in the same order."""
    old, new = before.split("\n"), after.split("\n")
    start = next(
        (at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return [f"-{line}" for line in old[start : len(old) - end]] + [f"+{line}" for line in new[start : len(new) - end]]


def test_a_model_is_added_behind_the_last_one() -> None:
    after = add_model(FILE, "new/one", {"targets": ["q"], "defaults": {"temperature": 0.7, "a b": {"c": [1]}}})
    assert difference(FILE, after) == [
        "+[[models]]",
        '+name = "new/one"',
        '+targets = ["q"]',
        '+defaults = { temperature = 0.7, "a b" = { c = [1] } }',
        "+",
    ]
    assert after.index("temperature = 0.2  # calm\n\n[[models]]") < after.index("# What may be said.")


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("", '[[models]]\nname = "a"\ntargets = ["q"]\n'),
        ("x = 1", 'x = 1\n\n[[models]]\nname = "a"\ntargets = ["q"]\n'),
        ("[x]\r\ny = 1\r\n", '[x]\r\ny = 1\r\n\r\n[[models]]\r\nname = "a"\r\ntargets = ["q"]\r\n'),
        (
            '[[models]]\nname = "b"\n# later\n[x]\n',
            '[[models]]\nname = "b"\n\n[[models]]\nname = "a"\ntargets = ["q"]\n\n# later\n[x]\n',
        ),
    ],
)
def test_where_a_first_and_a_next_one_goes(text: str, more: str) -> None:
    assert add_model(text, "a", {"targets": ["q"], "kind": None}) == more


@pytest.mark.parametrize(
    ("name", "settings", "lines"),
    [
        ("smart", {"active": False}, ["+active = false"]),
        ("smart", {"targets": ["q", "box/llama"]}, []),
        ("smart", {"targets": ["q", "x"]}, ['-    "box/llama",', '+    "x",']),
        ("smart", {"limits": None}, ["-limits = { concurrent = 2 }  # together"]),
        (
            "smart",
            {"limits": {"concurrent": 3}},
            ["-limits = { concurrent = 2 }  # together", "+limits = { concurrent = 3 }  # together"],
        ),
        (
            "smart",
            {"name": "clever"},
            ['-name = "smart"    # what people ask for', '+name = "clever"    # what people ask for'],
        ),
        ("other", {"defaults": {"temperature": 1}}, ["-temperature = 0.2  # calm", "+temperature = 1  # calm"]),
        ("other", {"kind": "chat"}, ['+kind = "chat"', "+"]),
        ("other", {"defaults": None}, ["-[models.defaults]", "-temperature = 0.2  # calm"]),
    ],
)
def test_a_change_touches_the_lines_that_it_is_about(name: str, settings: dict[str, Any], lines: list[str]) -> None:
    assert difference(FILE, change_model(FILE, name, settings)) == lines


def test_a_removed_model_leaves_the_comments_and_the_others() -> None:
    after = remove_model(FILE, "smart")
    assert [row["name"] for row in models_of(after)] == ["other"]
    assert "# The smart one.\n# balance" in after
    assert after.endswith(FILE[FILE.index("# The other one.") :])
    assert remove_model(add_model(FILE, "new", {"targets": ["q"]}), "new") == FILE


def test_windows_line_ends_stay() -> None:
    text = FILE.replace("\n", "\r\n")
    after = change_model(text, "smart", {"active": False, "targets": ["x"]})
    assert after.count("\n") == after.count("\r\n")
    assert tomllib.loads(after)["models"][0]["targets"] == ["x"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('models = [{ name = "a" }]', "no .* headers"),
        ('[[models]]\nname = "a"\n[server]\nhttp2 = false\n[models.limits]\nconcurrent = 1\n', "stand together"),
        ("models = 3", "no list"),
        ("models = [", "not valid TOML"),
        ("", 'no .* entry "a"'),
    ],
)
def test_what_cannot_be_understood_is_left_alone(text: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why):
        change_model(text, "a", {"kind": "chat"})
    with pytest.raises(OperatorError, match=why):
        remove_model(text, "a")


def test_what_toml_cannot_say_is_refused() -> None:
    for value in ({"x": None}, "\ud800", object()):
        with pytest.raises(OperatorError):
            change_model(FILE, "smart", {"defaults": value})
        with pytest.raises(OperatorError):
            add_model(FILE, "new", {"targets": ["q"], "defaults": value})
    with pytest.raises(OperatorError, match="already"):
        add_model(FILE, "smart", {"targets": ["q"]})


names = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), min_size=1, max_size=8)
values = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
settings = st.fixed_dictionaries(
    {},
    optional={
        "targets": st.lists(st.sampled_from(["q", "b/x", "b/y"]), min_size=1, max_size=3),
        "kind": st.sampled_from(["chat", "embedding"]),
        "active": st.booleans(),
        "defaults": st.dictionaries(names, values, max_size=3),
        "limits": st.dictionaries(st.sampled_from(["concurrent", "tokens_per_day"]), st.integers(1, 9), max_size=2),
    },
)
comments = st.sampled_from(["", "# a remark", "  # [[models]]", "#"])
others = st.sampled_from(
    [
        '[server]\nlisten = "x" # why',
        '[[runtimes]]\nname = "r"\ncommand = [\n  "a", # one\n  "[[models]]",\n]',
        '[[guardrails]]\nname = """\n# no remark\n[[models]]\n"""',
        "[usage]\n\nkeep = 3",
    ]
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file with up to three models called m0, m1, m2, in their order, other sections, remarks and empty lines."""
    blocks = draw(st.lists(others, unique=True, max_size=3))
    blocks = [block for block in blocks if block]
    for number in range(draw(st.integers(0, 3))):
        given_settings: dict[str, Any] = draw(settings)
        table: dict[str, int] | None = given_settings.pop("limits", None)
        block = add_model("", f"m{number}", given_settings).rstrip("\n")
        if table is not None:
            block += "\n[models.limits]\n" + "\n".join(f"{key} = {value}  # {key}" for key, value in table.items())
        blocks.insert(draw(st.integers(0, len(blocks))), block)
    gap = st.lists(comments, max_size=3)
    lines = [line for block in blocks for line in [*draw(gap), *block.split("\n")]] + draw(gap)
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


def rest(text: str) -> dict[str, Any]:
    return {key: value for key, value in tomllib.loads(text).items() if key != "models"}


def remarks(text: str) -> list[str]:
    return sorted(line for line in text.split("\n") if line.lstrip().startswith("#"))


@given(files(), settings)
def test_any_file_gets_another_model_and_nothing_else_changes(text: str, wanted: dict[str, Any]) -> None:
    after = add_model(text, "new", wanted)
    assert models_of(after) == [*models_of(text), {"name": "new", **wanted}]
    gone = [line for line in difference(text, after) if line.startswith("-") and line != "-"]
    assert gone == []
    assert rest(after) == rest(text)


@given(files(), settings, st.data())
def test_any_model_of_any_file_is_changed_and_nothing_else(
    text: str, wanted: dict[str, Any], data: st.DataObject
) -> None:
    models = models_of(text)
    if not models:
        return
    index = data.draw(st.integers(0, len(models) - 1))
    name = models[index]["name"]
    dropped = data.draw(st.sets(st.sampled_from(["kind", "active", "defaults", "limits"])))
    asked = wanted | dict.fromkeys(dropped)
    after = change_model(text, name, asked)
    want = {key: value for key, value in {**models[index], **asked}.items() if value is not None}
    assert models_of(after) == [*models[:index], want, *models[index + 1 :]]
    assert (rest(after), remarks(after)) == (rest(text), remarks(text))
    for block in (remove_model(after, name), remove_model(text, name)):
        assert block == remove_model(text, name)  # all that was not the entry is the same, byte for byte


@given(files(), st.data())
def test_any_model_of_any_file_is_removed_and_nothing_else(text: str, data: st.DataObject) -> None:
    models = models_of(text)
    if not models:
        return
    name = data.draw(st.sampled_from(models))["name"]
    after = remove_model(text, name)
    assert models_of(after) == [row for row in models if row["name"] != name]
    assert [line for line in difference(text, after) if line.startswith("+") and line != "+"] == []
    assert (rest(after), remarks(after)) == (rest(text), remarks(text))


def test_what_comes_out_is_what_our_own_loader_reads() -> None:
    config, problems = parse(add_model(FILE, "new", {"targets": ["q"], "limits": {"concurrent": 3}, "active": False}))
    assert not problems
    assert config is not None
    model = config.models[-1]
    assert (model.name, model.targets, model.active) == ("new", ("q",), False)
    assert model.limits is not None
    assert model.limits.concurrent == 3
