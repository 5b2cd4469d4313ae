from importlib.resources import files

import pytest
from jinja2 import DictLoader, UndefinedError

from appliance.console.templating import environment, read


def test_everything_is_escaped_and_a_name_that_is_not_there_is_a_mistake() -> None:
    made = environment()
    assert made.from_string("{{ text }}").render(text="<script>'\"&") == "&lt;script&gt;&#39;&#34;&amp;"
    with pytest.raises(UndefinedError):
        made.from_string("{{ text }}").render()


def test_numbers_become_words() -> None:
    assert environment().from_string("{{ 2048 | size }}, {{ 3 | span }}").render() == "2 KiB, 3.0 s"


def test_commands_in_a_text_look_like_such_and_stay_text() -> None:
    marked = environment().from_string("{{ text | marked }}")
    assert (
        marked.render(text="see `dmesg`: <b> & `<i>`")
        == "see <code>dmesg</code>: &lt;b&gt; &amp; <code>&lt;i&gt;</code>"
    )
    assert marked.render(text="one ` <b>") == "one ` &lt;b&gt;"


def test_a_sentence_ends_once() -> None:
    made = environment().from_string("{{ text | sentence }}")
    assert [made.render(text=text) for text in ("it is", "Is it?", "it is.")] == ["It is.", "Is it?", "It is."]


def test_every_template_is_one_and_nothing_in_it_is_inline() -> None:
    made, folder = environment(), files("appliance") / "console" / "templates"
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".html")]
    names += [f"parts/{entry.name}" for entry in (folder / "parts").iterdir()]
    for name in names:
        made.get_template(name)
        text = read("templates", name)
        for word in (" style=", "<style", " onclick", "javascript:", "|safe", "| safe", "http://", "https://"):
            assert word not in text, f"{name}: {word}"
        assert text.count("<script") == text.count("<script src=")


def test_all_of_it_is_small() -> None:
    folder = files("appliance") / "console"
    files_ = [entry for part in ("static", "templates") for entry in (folder / part).iterdir() if entry.is_file()]
    files_ += list((folder / "templates" / "parts").iterdir())
    assert sum(len(entry.read_bytes()) for entry in files_) < 100_000


def test_no_file_is_looked_for_later() -> None:
    loader = environment().loader
    assert isinstance(loader, DictLoader)
    assert {"login.html", "parts/now-models.html"} <= set(loader.mapping)
