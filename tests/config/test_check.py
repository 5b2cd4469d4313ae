from typing import Annotated

import pytest

from appliance.config.check import _not_built, check, is_loopback, split_listen
from appliance.config.load import parse
from appliance.config.schema import Config, Doc, Events, Section

LLAMA = 'runtimes = [{ name = "a", engine = "llama.cpp", model = "m.gguf" %s }]\n'
COMMAND = 'runtimes = [{ name = "a", engine = "command" %s }]\n'
BACKEND = 'backends = [{ name = "box", engine = "tgi", url = "http://h:1" %s }]\n'
HASH = "sha256:" + "0" * 64
KEY = 'keys = [{ name = "k", hash = "' + HASH + '", limits = { %s } }]'


def problems(text: str, *, has_environment_keys: bool = False) -> list[tuple[str, str]]:
    config, wrong = parse(text)
    assert wrong == []
    assert config is not None
    return [(found.what, found.fix) for found in check(config, has_environment_keys=has_environment_keys)]


def only(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return "  ".join(found[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        LLAMA % "",
        LLAMA % ', args = ["--hostile", "-ngl", "99", "--jinja"], context = 1, slots = 1, binary = "/b"',
        COMMAND % ', command = ["p", "--port={port}", "--bind", "{host}"]',
        COMMAND % ', command = ["p", "{socket}", "{gpus}", \'{"a": {"b": 1}}\'], args = ["--host", "x"]',
        COMMAND % ', command = ["p", "{port}", "{model}"], model = "m", health = "/v1/models?x=1"',
        BACKEND % ', key_env = "K"',
        BACKEND % ', key_file = "k"' + 'models = [{ name = "org/m:1", targets = ["box/org/m"], kind = "embedding" }]',
        LLAMA % "" + 'models = [{ name = "a", targets = ["a"], kind = "completion" }]',
        LLAMA % ', kinds = ["embedding", "chat"]' + 'models = [{ name = "e", targets = ["a"], kind = "embedding" }]',
        '[server]\nlisten = "0.0.0.0:1"\nauth = "open"',
        f'server.listen = "[::]:0"\nkeys = [{{ name = "k", hash = "{HASH}" }}]',
        "[server]\ndrain = 0\nload_wait = 0\ntotal_timeout = 0\nfirst_byte_timeout = 0",
        '[server]\ntls = "off"\nhttp2 = false',
        'server.tls = { cert = "c", key = "k" }',
        '[server]\nhttp2 = true\ntls = [{ cert = "c", key = "k" }, { cert = "d", key = "l" }]',
        KEY % "requests_per_minute = 1, tokens_per_minute = 200_000, concurrent = 8",
        KEY % "tokens_per_day = 1, tokens_per_month = 1",
        '[server]\nkey_prefix = ""',
        '[server]\nkey_prefix = "org_live-"',
        LLAMA % "" + 'models = [{ name = "m", targets = ["a"], limits = { tokens_per_day = 5 } }]',
        KEY % "",
        LLAMA % ', gpus = [0], idle_stop = "1h", replicas = 2, exclusive = "big", preload = true',
    ],
)
def test_a_good_configuration_has_no_problems(text: str) -> None:
    assert problems(text) == []


class Row(Section, frozen=True):
    plan: Annotated[str, Doc("not built yet", later=True)] = ""


class Page(Section, frozen=True):
    rows: Annotated[tuple[Row, ...], Doc("rows")] = ()
    row: Annotated[Row, Doc("a row")] = Row()


def test_a_setting_whose_feature_is_not_built_is_refused_wherever_it_is() -> None:
    page = Page(rows=(Row(), Row(plan="x")), row=Row(plan="y"))
    assert [(finding.what, finding.fix) for finding in _not_built(page, ())] == [
        ("`rows[1].plan` is not in this version", "remove it"),
        ("`row.plan` is not in this version", "remove it"),
    ]
    assert list(_not_built(Page(rows=(Row(),)), ())) == []


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"])
def test_an_engine_needs_its_model(engine: str) -> None:
    assert "`runtimes[0].model` is missing" in only(f'runtimes = [{{ name = "a", engine = "{engine}" }}]')


@pytest.mark.parametrize(
    ("engine", "flag"),
    [("vllm", "--uds"), ("vllm", "--api_key=x"), ("vllm", "--served-model-name"), ("llama.cpp", "--alias")],
)
def test_a_flag_that_the_appliance_sets_is_refused(engine: str, flag: str) -> None:
    text = only(f'runtimes = [{{ name = "a", engine = "{engine}", model = "/m", args = ["-v", "{flag}"] }}]')
    assert text.startswith("`runtimes[0].args[1]`: ")
    assert "is set by the appliance" in text


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("{ OMP_NUM_THREADS = '4' }", None),
        ("{ 'A B' = '1' }", "no variable can have"),
        ("{ VLLM_API_KEY = 'x' }", "VLLM_API_KEY is set by the appliance"),
        ("{ VLLM_SERVER_DEV_MODE = '1' }", "is set by the appliance"),
        ("{ CUDA_VISIBLE_DEVICES = '1' }", "use `gpus`"),
    ],
)
def test_env_holds_variables_that_are_not_the_appliances_own(env: str, expected: str | None) -> None:
    text = f'runtimes = [{{ name = "a", engine = "vllm", model = "/m", env = {env} }}]'
    assert (expected in only(text)) if expected else problems(text) == []


@pytest.mark.parametrize(
    "listen", ["", "8000", ":8000", "::1:80", "[::1]", "h:65536", "h:-1", "http://h:1", "[x]:1", "h:"]
)
def test_listen_must_be_host_and_port(listen: str) -> None:
    assert "must be" in only(f'server.listen = "{listen}"')
    with pytest.raises(ValueError):
        split_listen(listen)


@pytest.mark.parametrize(
    ("listen", "pair"),
    [("127.0.0.1:8000", ("127.0.0.1", 8000)), ("[::1]:0", ("::1", 0)), ("gpu-box.lan:80", ("gpu-box.lan", 80))],
)
def test_listen_is_split_into_host_and_port(listen: str, pair: tuple[str, int]) -> None:
    assert split_listen(listen) == pair


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_recognised_in_all_its_spellings(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gpubox.lan", "::ffff:10.0.0.1"])
def test_every_other_host_counts_as_reachable(host: str) -> None:
    assert not is_loopback(host)


def test_listening_off_loopback_without_keys_is_refused_with_the_three_ways_to_allow_it() -> None:
    text = only('server.listen = "0.0.0.0:8000"')
    assert all(way in text for way in ("[[keys]]", "API_KEYS", 'auth = "open"'))
    assert problems('server.listen = "0.0.0.0:8000"', has_environment_keys=True) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server.load_queue = 0", "`server.load_queue` must be more than 0"),
        ("server.probe_interval = 0", "`server.probe_interval` must be more than 0"),
        ('server.state_dir = ""', "`server.state_dir` is empty"),
        (KEY % "requests_per_minute = 0", "`keys[0].limits.requests_per_minute` must be more than 0"),
        (KEY % "tokens_per_minute = -1", "`keys[0].limits.tokens_per_minute` must be more than 0"),
        (KEY % "concurrent = 0", "`keys[0].limits.concurrent` must be more than 0"),
        (LLAMA % ", slots = 0", "`runtimes[0].slots` must be more than 0"),
        (LLAMA % ", context = -1", "`runtimes[0].context` must be more than 0"),
        (BACKEND % ", max_connections = 0", "`backends[0].max_connections` must be more than 0"),
        ('runtimes = [{ name = "a", engine = "llama.cpp" }]', "`runtimes[0].model` is missing"),
        (LLAMA % ', command = ["x"]', "`runtimes[0].command` has a meaning for"),
        (LLAMA % ', health = "/x"', "`runtimes[0].health` has a meaning for"),
        (LLAMA % ", kinds = []", "`runtimes[0].kinds` is empty"),
        (LLAMA % ', args = ["-v", "--port", "1"]', "`runtimes[0].args[1]`: --port is set by the appliance"),
        (LLAMA % ', args = ["--host=x"]', "`runtimes[0].args[0]`: --host is set by the appliance"),
        (LLAMA % ', args = ["--api-key-file=x"]', "--api-key-file is set by the appliance"),
        (COMMAND % "", "`runtimes[0].command` is missing"),
        (COMMAND % ', command = [""]', "`runtimes[0].command` is missing"),
        (COMMAND % ', command = ["p", "{port}"], binary = "x"', "`runtimes[0].binary` has no meaning"),
        (COMMAND % ', command = ["p", "{port}", "{prot}"]', "{prot} is not a placeholder  did you mean {port}?"),
        (COMMAND % ', command = ["p", "{port}", "{zzz}"]', "the known ones are {socket} {host} {port} {model} {gpus}"),
        (COMMAND % ', command = ["p", "{port}"], args = ["{gpus}"]', "{gpus} is replaced in `command` only"),
        (COMMAND % ', command = ["p", "{host}"]', "`runtimes[0].command` does not say where to listen"),
        (COMMAND % ', command = ["p", "{port}", "{model}"]', "`runtimes[0].model` is missing: the command uses"),
        (COMMAND % ', command = ["p", "{port}"], health = "x"', '`runtimes[0].health` must start with "/"'),
        (BACKEND % ', key_env = "A", key_file = "b"', "`backends[0]` has both `key_env` and `key_file`"),
        ('backends = [{ name = "b", engine = "tgi", url = "h:1" }]', "`backends[0].url` must start with http://"),
        ('backends = [{ name = "b", engine = "tgi", url = "http://" }]', "`backends[0].url` names no host"),
        ('backends = [{ name = "b", engine = "tgi", url = "http://h h" }]', "`backends[0].url` holds a space"),
        ('backends = [{ name = "b", engine = "tgi", url = "http://u:p@h" }]', "must not hold a credential"),
        ('backends = [{ name = "b", engine = "tgi", url = "http://h:x" }]', "`backends[0].url` is not a valid URL"),
        ('models = [{ name = "m", targets = [] }]', "`models[0].targets` is empty"),
    ],
)
def test_each_mistake_is_named(text: str, words: str) -> None:
    assert words in only(text)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 201, "a\\n"])
def test_a_name_holds_nothing_that_could_be_mistaken(name: str) -> None:
    text = f'backends = [{{ name = "{name}", engine = "tgi", url = "http://h" }}]'
    assert only(text).startswith("`backends[0].name` ")


def test_a_runtimes_name_leaves_the_at_sign_to_its_replicas() -> None:
    assert only((LLAMA % "").replace('"a"', '"a@1"')).endswith("letters, digits, . _ : + -")


def test_a_models_name_may_hold_slashes() -> None:
    text = LLAMA % "" + 'models = [{ name = "%s", targets = ["a"] }]'
    assert problems(text % "org/a") == []
    assert "`models[0].name`" in only(text % "a b")


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("runtimes", '{ name = "x", engine = "llama.cpp", model = "m" }'),
        ("backends", '{ name = "x", engine = "tgi", url = "http://h" }'),
    ],
)
def test_a_name_is_given_once(section: str, row: str) -> None:
    assert f'`{section}[1].name`: "x" is taken by {section}[0]' in only(f"{section} = [{row}, {row}]")


def test_a_runtime_and_a_backend_do_not_share_a_name() -> None:
    text = LLAMA % "" + 'backends = [{ name = "a", engine = "tgi", url = "http://h" }]'
    assert '`backends[0].name`: "a" is taken by runtimes[0]' in only(text)


def test_models_and_keys_are_named_once_too() -> None:
    text = LLAMA % "" + 'models = [{ name = "m", targets = ["a"] }, { name = "m", targets = ["a"] }]'
    assert '`models[1].name`: "m" is taken by models[0]' in only(text)
    keys = f'keys = [{{ name = "k", hash = "{HASH}" }}, {{ name = "k", hash = "sha256:{"1" * 64}" }}]'
    assert '`keys[1].name`: "k" is taken by keys[0]' in only(keys)


@pytest.mark.parametrize(("name", "free"), [("env-1", False), ("anonymous", False), ("env-a", True), ("env", True)])
def test_a_key_is_not_named_like_a_caller_without_an_entry(name: str, free: bool) -> None:
    found = problems(f'keys = [{{ name = "{name}", hash = "{HASH}" }}]')
    assert (found == []) == free
    assert all(what.startswith("`keys[0].name`") for what, _ in found)


@pytest.mark.parametrize("text", ["sk-secret", "sha256:abc", "0" * 64, "sha256:" + "A" * 64, HASH + "0"])
def test_a_hash_that_is_none_is_refused_and_not_shown(text: str) -> None:
    found = only(f'keys = [{{ name = "k", hash = "{text}" }}]')
    assert "`keys[0].hash` must be" in found
    assert text not in found


def test_two_names_for_one_key_are_refused() -> None:
    text = f'keys = [{{ name = "k", hash = "{HASH}" }}, {{ name = "l", hash = "{HASH}" }}]'
    assert "`keys[1].hash` is the key of keys[0] too" in only(text)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("qwn", 'there is no runtime "qwn"  did you mean "qwen"?'),
        ("box", '"box" is a backend and no model of it is named  write "box/"'),
        ("box/", '"box" is a backend and no model of it is named'),
        ("bxo/org/m", 'there is no backend "bxo"  did you mean "box/org/m"?'),
        ("boxx", 'there is no runtime "boxx"  did you mean "box/…"?'),
        ("qwen/7b", 'there is no backend "qwen"  did you mean the runtime "qwen"?'),
        ("zzz", 'there is no runtime "zzz"  use the name of a runtime: "qwen"'),
        ("", 'there is no runtime ""'),
    ],
)
def test_a_target_that_does_not_exist_is_named_with_what_was_meant(target: str, words: str) -> None:
    text = (LLAMA % "").replace('"a"', '"qwen"') + BACKEND % "" + f'models = [{{ name = "m", targets = ["{target}"] }}]'
    assert words in only(text)


def test_a_target_without_anything_to_point_at_says_what_to_add() -> None:
    assert "there is no [[backends]] entry; add one" in only('models = [{ name = "m", targets = ["b/m"] }]')


def test_an_unknown_kind_is_refused_with_what_was_meant() -> None:
    text = BACKEND % "" + 'models = [{ name = "m", targets = ["box/m"], kind = "embeddings" }]'
    assert only(text).endswith('did you mean "embedding"?')


def test_a_models_kind_must_be_one_that_its_runtime_offers() -> None:
    text = LLAMA % "" + 'models = [{ name = "m", targets = ["a"], kind = "embedding" }]'
    assert '`models[0].targets[0]`: runtime "a" offers "chat", not "embedding"' in only(text)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (", sleep = 1", "works with vLLM only"),
        (", gpus = [0, 0]", "names a GPU twice"),
        (", gpus = [-1]", "below 0"),
        (", replicas = 0", "replicas"),
    ],
)
def test_settings_of_a_runtime_that_make_no_sense(extra: str, says: str) -> None:
    ((what, _),) = problems(LLAMA % extra)
    assert says in what


def test_one_model_at_most_is_the_default() -> None:
    models = (
        'models = [{ name = "m", targets = ["a"], default = true }, { name = "n", targets = ["a"], default = true }]'
    )
    assert problems(LLAMA % "" + models) == [
        ("`models[1].default`: models[0] is the default already", "keep one of them")
    ]
    assert problems(LLAMA % "" + models.replace("true", "false", 1)) == []


def test_only_runtimes_have_replicas_to_choose_from() -> None:
    box = 'backends = [{ name = "b", engine = "openai", url = "http://b" }]\n'
    ((what, fix),) = problems(box + 'models = [{ name = "m", targets = ["b/x"], balance = "prefix" }]')
    assert "has a meaning for runtimes only" in what
    assert "list a runtime" in fix
    assert problems(LLAMA % "" + 'models = [{ name = "m", targets = ["a"], balance = "prefix" }]') == []


@pytest.mark.parametrize("prefix", ["a b", "x" * 21, "ü", "a.b"])
def test_a_prefix_that_no_key_may_have(prefix: str) -> None:
    assert "`server.key_prefix`" in only(f'[server]\nkey_prefix = "{prefix}"')


@pytest.mark.parametrize("name", ["tokens_per_day", "tokens_per_month", "concurrent"])
def test_a_limit_of_nothing_is_refused_for_keys_and_for_models(name: str) -> None:
    assert f"`keys[0].limits.{name}` must be more than 0" in only(KEY % f"{name} = 0")
    model = f'models = [{{ name = "m", targets = ["a"], limits = {{ {name} = 0 }} }}]'
    assert f"`models[0].limits.{name}` must be more than 0" in only(LLAMA % "" + model)


def test_of_events_there_has_to_be_one_at_least() -> None:
    found = check(Config(events=Events(max_count=0)), has_environment_keys=True)
    assert [finding.path for finding in found] == [("events", "max_count")]
