from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import Problem, inspect, load_config, parse
from appliance.config.locate import dotted
from appliance.config.schema import Config, Tls
from appliance.config.units import Moment, Seconds, Size
from appliance.errors import OperatorError

RUNTIME = '[[runtimes]]\nname = "a"\nengine = "llama.cpp"\nmodel = "m.gguf"\n'


def only(text: str) -> Problem:
    config, problems = parse(text)
    assert config is None
    assert len(problems) == 1, problems
    return problems[0]


def test_a_good_file_becomes_a_config_of_the_right_types() -> None:
    text = '[server]\nlisten = "0.0.0.0:80"\ndrain = "1m"\nmax_body = "1MiB"\n' + RUNTIME + 'args = ["-v"]\nslots = 2\n'
    config, problems = parse(text)
    assert problems == []
    assert config is not None
    assert config.server.listen == "0.0.0.0:80"
    assert config.server.drain == Seconds(60)
    assert isinstance(config.server.drain, Seconds)
    assert config.server.max_body == 2**20
    assert isinstance(config.server.max_body, Size)
    assert config.runtimes[0].args == ("-v",)
    assert config.runtimes[0].slots == 2


def test_an_empty_file_is_the_defaults() -> None:
    assert parse("# nothing\n") == (Config(), [])


def test_settings_for_later_versions_parse() -> None:
    text = "[server]\n" + RUNTIME + 'memory = "1GiB"\ngpus = [0]\nidle_stop = "1h"\n'
    config, problems = parse(text)
    assert problems == []
    assert config is not None
    assert config.runtimes[0].memory == 2**30
    assert config.runtimes[0].gpus == (0,)


def test_tls_is_a_word_a_table_or_a_list_of_tables() -> None:
    pair = Tls(cert="c", key="k")
    for text, value in (
        ('"off"', "off"),
        ('{ cert = "c", key = "k" }', pair),
        ('[{ cert = "c", key = "k" }]', (pair,)),
    ):
        config, problems = parse(f"server.tls = {text}\n")
        assert problems == []
        assert config is not None
        assert config.server.tls == value


def test_the_files_that_a_setting_names_are_looked_at() -> None:
    config, problems = inspect('[server]\ntls = { cert = "/gone/c", key = "/gone/k" }\n', has_environment_keys=False)
    assert config is not None
    assert [(problem.what, problem.line) for problem in problems] == [
        ("`server.tls.cert` cannot be read (No such file or directory)", 2)
    ]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = '[server]\nlisten = 8000\ndrain = "soon"\nauht = "open"\n[[runtimes]]\nengine = "lama.cpp"\nslots = "8"\n'
    config, problems = parse(text)
    assert config is None
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6, 7]
    assert [problem.path for problem in problems] == [
        ("server", "listen"),
        ("server", "drain"),
        ("server", "auht"),
        ("runtimes", 0, "name"),
        ("runtimes", 0, "engine"),
        ("runtimes", 0, "slots"),
    ]


def told(text: str) -> list[tuple[int, str]]:
    """Line and setting of each problem; the server has keys."""
    _, problems = inspect(text, has_environment_keys=True)
    return [(problem.line, dotted(problem.path)) for problem in problems]


def test_a_wrong_type_does_not_hide_what_the_rules_find_elsewhere() -> None:
    text = """[server]
drain = "soon"
key_prefix = "a b"
[[runtimes]]
name = "r"
engine = "llama.cpp"
slots = "8"
[[models]]
name = "a"
targets = ["r"]
[[models]]
name = "a"
targets = ["gone"]
balance = 3
"""
    assert told(text) == [
        (2, "server.drain"),
        (3, "server.key_prefix"),
        (4, "runtimes[0].model"),
        (7, "runtimes[0].slots"),
        (12, "models[1].name"),
        (13, "models[1].targets[0]"),
        (14, "models[1].balance"),
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # What is wrong already is not told twice, as something else.
        ("[server]\nlisten = 8000\n", [(2, "server.listen")]),
        ('[[models]]\nname = "m"\ntarget = ["r"]\n', [(1, "models[0].targets"), (3, "models[0].target")]),
        ("[[models]]\ntargets = [3]\n", [(1, "models[0].name"), (2, "models[0].targets[0]")]),
        # What could not be read cannot be missed.
        (
            '[[runtimes]]\nname = 3\n[[models]]\nname = "m"\ntargets = ["r"]\n',
            [(1, "runtimes[0].engine"), (2, "runtimes[0].name")],
        ),
        ('runtime = []\n[[models]]\nname = "m"\ntargets = ["r"]\n', [(1, "runtime")]),
        ('[server]\nlisten = "0.0.0.0:1"\n[keys]\nname = "a"\n', [(3, "keys")]),
        ("guardrails = [3]\n", [(1, "guardrails[0]")]),
    ],
)
def test_one_fault_is_one_problem(text: str, problems: list[tuple[int, str]]) -> None:
    assert told(text) == problems


def test_a_problem_reads_as_file_line_column_what_and_fix() -> None:
    problem = only('[server]\n  lisen = "x"\n')
    assert problem.render("a.toml") == "a.toml:2:3  `server.lisen` is not a setting  did you mean `listen`?"


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("[sever]\n", "`sever` is not a setting", "did you mean `server`?"),
        ("[[runtime]]\n", "`runtime` is not a setting", "did you mean `runtimes`?"),
        ('listen = "x"\n', "`listen` is not a setting", "it belongs in [server]"),
        ("slots = 1\n", "`slots` is not a setting", "it belongs in [[runtimes]]"),
        ("zzz = 1\n", "`zzz` is not a setting", "remove it; docs/configuration.md has every setting"),
        ('"a b" = 1\n', '`"a b"` is not a setting', "remove it; docs/configuration.md has every setting"),
        ("[server]\nlisten = 1\n", "`server.listen` must be text, not a whole number", "put it in quotes"),
        ("[server]\nlisten = 1979-05-27\n", "`server.listen` must be text, not a date or time", "put it in quotes"),
        ("[server]\nnames = 'x'\n", "`server.names` must be a list, not text", "put it in brackets: [ … ]"),
        ("[server]\nnames = [1]\n", "`server.names[0]` must be text, not a whole number", "put it in quotes"),
        ("[server]\ntls = 1\n", "`server.tls` must be text, not a whole number", "put it in quotes"),
        ("[server.tls]\ncert = 'c'\n", "`server.tls.key` is missing", 'write key = "…"'),
        ("[[server.tls]]\ncert = 'c'\n", "`server.tls[0].key` is missing", 'write key = "…"'),
        (
            "[server]\ntls = ['c']\n",
            "`server.tls[0]` must be a table, not text",
            "write it as a table: { key = value }",
        ),
        (
            "[server]\nhttp2 = 'yes'\n",
            "`server.http2` must be true or false, not text",
            "write true or false, without quotes",
        ),
        (
            "[server]\nload_queue = true\n",
            "`server.load_queue` must be a whole number, not true or false",
            "write digits, without quotes",
        ),
        (
            "[server]\nload_queue = 1.5\n",
            "`server.load_queue` must be a whole number, not a fraction",
            "write digits, without quotes",
        ),
        ("[server]\ndrain = 'x'\n", "`server.drain` must be a duration", 'for instance "30s", "15m" or "1h"'),
        ("[server]\nmax_body = -1\n", "`server.max_body` must be a size", 'for instance "18GiB" or "500MB"'),
        (f"[server]\nmax_body = '{'9' * 400}'\n", "`server.max_body` must be a size", 'for instance "18GiB"'),
        (f"[server]\ndrain = {'9' * 400}\n", "`server.drain` must be a duration", 'for instance "1h"'),
        ("[server]\nauth = 'opne'\n", '`server.auth` must be "keys" or "open"', 'did you mean "open"?'),
        ("[server]\nauth = 1\n", '`server.auth` must be "keys" or "open"', "write one of them, in quotes"),
        ("server = 1\n", "`server` must be a table, not a whole number", "write it as a table: { key = value }"),
        ("[[server]]\n", "`server` must be a table, not a list", "write [server] with one bracket"),
        ("[runtimes]\n", "`runtimes` must be a list, not a table", "write [[runtimes]] with two brackets"),
        ("[[models]]\nname = 'a'\n", "`models[0].targets` is missing", 'write targets = ["…"]'),
        (
            "[[backends]]\nname = 'a'\nurl = 'u'\n",
            "`backends[0].engine` is missing",
            'write engine = "openai", "vllm", "llama.cpp", "sglang", "tgi", "ollama" or "localai"',
        ),
        (
            "[[keys]]\nname = 'a'\nhash = 'h'\nscopes = ['infr']\n",
            '`keys[0].scopes[0]` must be "infer", "metrics" or "admin"',
            'did you mean "infer"?',
        ),
    ],
)
def test_each_mistake_has_its_sentence_and_its_fix(text: str, what: str, fix: str) -> None:
    problem = only(text)
    assert (problem.what, problem.fix) == (what, fix)


def test_a_syntax_error_stands_alone_at_its_place() -> None:
    problem = only("[server]\nlisten = 127.0.0.1\nnope = 1\n")
    assert problem.what.startswith("not valid TOML: ")
    assert (problem.line, problem.column) == (2, 15)


def test_a_syntax_error_at_the_end_points_to_the_end() -> None:
    assert (only('a = 1\nb = "x').line, only('a = 1\nb = "x').column) == (2, 7)


def test_absurd_nesting_is_a_problem_and_not_a_crash() -> None:
    assert "nested too deeply" in only("a = " + "[" * 50_000).what


def test_a_value_that_may_be_a_credential_is_not_repeated() -> None:
    problem = only("[[keys]]\nname = 'a'\nhash = ['sk-very-secret']\n")
    assert "sk-very-secret" not in problem.render("f")


def test_control_characters_never_reach_the_terminal() -> None:
    _, problems = inspect('[[models]]\nname = "a"\ntargets = ["\\u001b[2J"]\n', has_environment_keys=False)
    assert problems
    assert all("\x1b" not in problem.render("f") for problem in problems)


def test_checks_have_places_too() -> None:
    config, problems = inspect("[server]\n\nlisten = '0.0.0.0:80'\n", has_environment_keys=False)
    assert config is not None
    assert [(problem.path, problem.line, problem.column) for problem in problems] == [(("server", "listen"), 3, 1)]
    assert inspect("[server]\nlisten = '0.0.0.0:80'\n", has_environment_keys=True)[1] == []


def test_loading_a_good_file_gives_its_config(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbf" + RUNTIME.encode())
    assert load_config(file, has_environment_keys=False).runtimes[0].name == "a"


def test_loading_a_bad_file_raises_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[server]\nlisten = 1\ndrain = 'x'\n")
    with pytest.raises(OperatorError) as caught:
        load_config(file, has_environment_keys=False)
    title, *lines = str(caught.value).splitlines()
    assert title == f"2 problems in {file}"
    assert [line.partition("  ")[0] for line in lines] == [f"{file}:2:1", f"{file}:3:1"]


def test_a_file_that_cannot_be_read_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"cannot read .*gone\.toml: No such file"):
        load_config(tmp_path / "gone.toml", has_environment_keys=False)
    with pytest.raises(OperatorError, match="directory"):
        load_config(tmp_path, has_environment_keys=False)
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(OperatorError, match="not UTF-8"):
        load_config(tmp_path / "latin.toml", has_environment_keys=False)


KEYS = st.sampled_from(["server", "listen", "runtimes", "name", "engine", "args", "models", "targets", "tls", "x"])
VALUES = st.sampled_from(["1", "-1", "'a'", "true", "[]", "[1]", "{}", "1.5", "inf", "1979-05-27", "[{}]", "[[]]"])
LINES = st.lists(
    st.one_of(
        st.builds("{} = {}".format, KEYS, VALUES),
        KEYS.map("[{}]".format),
        KEYS.map("[[{}]]".format),
        st.text(max_size=5),
    ),
    max_size=6,
)


@given(LINES)
def test_any_text_gives_either_a_config_or_problems(lines: list[str]) -> None:
    config, problems = parse("\n".join(lines))
    assert (config is None) == bool(problems)


def test_stored_keys_are_keys_enough_to_listen_to_other_machines(tmp_path: Path) -> None:
    text = f'[server]\nlisten = "0.0.0.0:1"\nstate_dir = "{tmp_path}"\n'
    assert [problem.path for problem in inspect(text, has_environment_keys=False)[1]] == [("server", "listen")]
    (tmp_path / "keys.json").touch()
    assert inspect(text, has_environment_keys=False)[1] == []


def test_an_expiry_is_a_date() -> None:
    key = 'keys = [{ name = "a", hash = "sha256:' + "0" * 64 + '", expires = %s }]'
    config, _ = inspect(key % "2027-01-31", has_environment_keys=False)
    assert config is not None
    assert config.keys[0].expires == Moment(1_801_353_600)
    _, problems = inspect(key % "5", has_environment_keys=False)
    assert [(problem.what, problem.fix) for problem in problems] == [
        ("`keys[0].expires` must be a date", "for instance 2027-01-31 or 2027-01-31T18:00:00Z")
    ]
